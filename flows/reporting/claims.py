"""Decides the claims of a study by Student's 95 % interval of a number over its seeds.

A claim holds if the whole interval is within the bounds, fails if the whole interval is outside, and is undecided
otherwise, also if the number of a seed is undefined: the seeds where it is defined are no random choice. A study holds
if all of its claims hold: that needs no correction for their number (an intersection-union test, Berger 1982). It fails
if one of its claims fails; that is not corrected either, and says which claim.
"""

import math
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

from agents.studies import Claim, Study
from flows.reporting.numbers import number
from flows.reporting.statistics import Interval, interval
from flows.tracking.study_results import StudyResults

Verdict = Literal["holds", "fails", "undecided"]


class Decision(NamedTuple):
    """A claim and what the runs say about it."""

    claim: Claim
    values: Mapping[int, float]
    """seed -> the number of the claim; without seeds of which a run is missing or a read-out is undefined"""
    interval: Interval
    verdict: Verdict
    problem: str = ""
    """why the number could not be computed, for example an arm that the study has no longer"""

    @property
    def within(self) -> int:
        """The number of seeds whose own number is within the bounds."""
        return sum(self.claim.at_least <= value <= self.claim.at_most for value in self.values.values())

    @property
    def bounds(self) -> str:
        """The bounds as text."""
        low, high = self.claim.at_least, self.claim.at_most
        if low == high:
            return f"= {number(low)}"
        parts = [f"≥ {number(low)}"] * math.isfinite(low) + [f"≤ {number(high)}"] * math.isfinite(high)
        return " and ".join(parts)


def decide(study: Study, results: StudyResults) -> list[Decision]:
    """Decides every claim of a study."""
    outcomes = {seed: outcomes_of(study, results, seed) for seed in results.seeds}
    return [_decide(claim, outcomes) for claim in study.claims]


def study_verdict(decisions: list[Decision]) -> Verdict:
    """The verdict on a study: that of all its claims."""
    verdicts = {decision.verdict for decision in decisions}
    if "fails" in verdicts:
        return "fails"
    return "holds" if verdicts == {"holds"} else "undecided"


def outcomes_of(study: Study, results: StudyResults, seed: int) -> dict[Any, Mapping[str, float]]:
    """The read-outs of one seed, by arm, or by (arm, level) in a study with an axis."""
    if not study.axis:
        return {row.arm: row.readouts for row in results.of_seed(seed)}
    levels = {str(level): level for level in study.presets[results.preset][study.axis]}
    return {(row.arm, levels.get(row.level, row.level)): row.readouts for row in results.of_seed(seed)}


def _decide(claim: Claim, outcomes: Mapping[int, Mapping[Any, Mapping[str, float]]]) -> Decision:
    values: dict[int, float] = {}
    problem = ""
    for seed, found in outcomes.items():
        try:
            value = float(claim.value(found))
        except KeyError as error:  # a run failed, or was made by another version of the study
            problem = f"seed {seed} has no {error.args[0]!r}"
            continue
        if math.isfinite(value):
            values[seed] = value
        else:
            problem = f"the number of seed {seed} is undefined"
    over_seeds = interval(list(values.values()))
    return Decision(claim, values, over_seeds, "undecided" if problem else _verdict(claim, over_seeds), problem)


def _verdict(claim: Claim, found: Interval) -> Verdict:
    low, high = found.mean - found.half, found.mean + found.half
    if claim.at_least <= low and high <= claim.at_most:
        return "holds"
    return "fails" if high < claim.at_least or low > claim.at_most else "undecided"
