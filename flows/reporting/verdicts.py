"""Verdicts of a sweep: every row against the reference arm at each level of the sweep's axis.

The family of tests is every row that is not leaky, other than the reference arm, at every level at which it shares a
seed with the reference. Rows that are equal on every seed, such as two rules that deploy the same checkpoint, share one
test. Leaky rows have a difference but no test and no verdict, since no overseer could deploy them.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np

from flows.axis import Level
from flows.reporting import statistics
from flows.reporting.statistics import Interval, PointEstimate

Place = tuple[str, Level]  # row name and level
Seeds = Mapping[int, float]  # seed -> true return


class Contrast(NamedTuple):
    """A row against the reference arm at one level, over the seeds that both have."""

    difference: Interval
    improvement: PointEstimate
    """probability that the row is better than the reference"""
    p: float
    """of the sign-flip test; nan without a test"""
    adjusted: float
    """p after Holm's correction over the family; nan without a test"""
    verdict: Literal["better", "worse", "undecided", "not tested"]
    needed: int | None
    """estimated number of pairs that would decide an undecided contrast; None above `statistics.MOST_PAIRS`"""
    counted: bool = True
    """False: another row is equal on every seed, and their test is counted once"""

    @property
    def tested(self) -> bool:
        """Whether the contrast belongs to the family."""
        return not math.isnan(self.p)


def contrast_rows(returns: Mapping[Place, Seeds], leaky: set[str], reference: str) -> dict[Place, Contrast]:
    """Compare every row with the reference arm at each level.

    Args:
        returns: true returns of the finished runs.
        leaky: the names of the rows that are not tested.
        reference: the name of the reference arm.

    Returns:
        The contrast of every place except those of the reference; none if the reference has no finished run.
    """
    if not any(row == reference for row, _ in returns):
        return {}
    places = [place for place in returns if place[0] != reference]
    differences = [
        statistics.paired_differences(returns[row, level], returns.get((reference, level), {})) for row, level in places
    ]
    p_values = np.array(
        [
            math.nan if row in leaky else statistics.sign_flip_test(values)
            for (row, _), values in zip(places, differences, strict=True)
        ]
    )
    counted, first = _distinct_tests([level for _, level in places], differences, p_values)
    adjusted, levels = statistics.holm(counted)[first], statistics.holm_levels(counted)[first]
    columns = zip(p_values, np.where(np.isnan(p_values), math.nan, adjusted), levels, strict=True)
    made = (_contrast(values, *numbers) for values, numbers in zip(differences, columns, strict=True))
    contrasts = (found._replace(counted=not np.isnan(p)) for found, p in zip(made, counted, strict=True))
    return dict(zip(places, contrasts, strict=True))


def _distinct_tests(
    levels: Sequence[Level], differences: Sequence[np.ndarray], p_values: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Count equal tests once: rows with the same returns on every seed, such as rules that choose the last checkpoint.

    Returns:
        The p values, nan where an earlier row has the same differences, and for each row the index of the first row
        with its differences; both (n,).
    """
    first: dict[tuple[Level, bytes], int] = {}
    index = [
        i if np.isnan(p) else first.setdefault((level, values.tobytes()), i)
        for i, (level, values, p) in enumerate(zip(levels, differences, p_values, strict=True))
    ]
    order = np.array(index, int)
    return np.where(order == np.arange(len(order)), p_values, math.nan), order


def _contrast(differences: np.ndarray, p: float, adjusted: float, level: float) -> Contrast:
    difference, improvement = statistics.interval(differences), statistics.probability_of_improvement(differences)
    if math.isnan(p):
        return Contrast(difference, improvement, math.nan, math.nan, "not tested", None)
    verdict = statistics.verdict(adjusted, difference.mean)
    needed = statistics.pairs_to_decide(differences, level) if verdict == "undecided" else None
    if needed:
        needed = max(needed, difference.n + 1)  # the pairs that exist did not decide
    return Contrast(difference, improvement, float(p), float(adjusted), verdict, needed)


def seeds_needed(contrasts: Mapping[Place, Contrast]) -> int | None:
    """Return the least number of seeds with which any test of the family can be decided; None if the pairs suffice.

    Holm's procedure decides nothing unless the least p value is at most alpha / m.
    """
    family = [contrast for contrast in contrasts.values() if contrast.tested and contrast.counted]
    if not family:
        return None
    needed = statistics.least_pairs(statistics.ALPHA / len(family))
    return needed if needed > most_pairs(contrasts) else None


def most_pairs(contrasts: Mapping[Place, Contrast]) -> int:
    """Return the largest number of pairs of a test."""
    return max((contrast.difference.n for contrast in contrasts.values() if contrast.tested), default=0)


def conclusion(contrasts: Mapping[Place, Contrast], rows: set[str], reference: str) -> str:
    """Return the first line of a report: what the verdicts amount to, or why there are none.

    Args:
        contrasts: the contrasts of the sweep.
        rows: the names of all rows with a result.
        reference: the name of the reference arm; empty if the sweep has recorded none.
    """
    if not reference:
        return "no verdicts: the sweep records no reference arm"
    if reference not in rows:
        return f"no verdicts: no run of the reference arm {reference} has a result"
    pairs, count = most_pairs(contrasts), sum(contrast.tested for contrast in contrasts.values())
    if not count:
        return f"no verdicts: nothing that can be tested shares a seed with the reference arm {reference}"
    if needed := seeds_needed(contrasts):
        least, plural = statistics.least_p(pairs), "s" * (pairs > 1)
        return (
            f"{pairs} seed{plural} cannot decide: the least p of {pairs} pair{plural} is {least:.3g}; "
            f"{needed} seeds can"
        )
    verdicts = [contrast.verdict for contrast in contrasts.values() if contrast.tested]
    counts = ", ".join(f"{verdicts.count(name)} {name}" for name in ("better", "worse", "undecided"))
    return f"against {reference}: {counts}"
