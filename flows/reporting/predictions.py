"""Predictions of a sweep's certificates beside what its trained agents reached.

The predictions are those of the optimum of the true reward and of the optimum of the naive reward, ties among optimal
actions broken uniformly, and the enforceable return. The measured values are those of the policy at the last
checkpoint, as its arm's first deployment rule deploys it.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from flows import arms
from flows.axis import Level
from flows.reporting.aggregate import Comparison
from flows.reporting.numbers import number, plusminus
from flows.reporting.statistics import Interval, interval
from flows.tracking.certificates import read_certificate
from flows.tracking.metric_names import outcome_metric
from flows.tracking.results import Row

OPTIMUM, ENFORCEABLE, LOWER_BOUND, NAIVE = "optimum", "enforceable", "enforceable, at least", "naive optimum"
QUANTITIES = {  # quantity -> metric, and the certificate's field for the optimum and the naive optimum
    "true return": ("eval/true_return", "optimal_return", "naive_optimum_return"),
    "believed return": ("eval/believed_return", "optimum_believed_return", "naive_optimum_believed_return"),
    "overestimation": ("eval/overestimation", "overestimation_error_of_optimum", "overestimation_error"),
    "underestimation": ("eval/underestimation", "underestimation_error_of_optimum", "underestimation_error"),
}
RARE = 0.005  # an outcome that is predicted and measured less often has no line


class Line(NamedTuple):
    """One quantity: predictions and measured values."""

    quantity: str
    is_rate: bool
    """whether it is the rate of an outcome, not a return"""
    predicted: Mapping[str, float]
    """prediction -> value"""
    measured: Mapping[str, Interval]
    """arm -> mean and interval over seeds"""


LEFT_OUT = ("max_episode_steps", "view", "audits")  # of a title, which has the oversight level


class PredictedWorld(NamedTuple):
    """One world of a sweep with its predictions."""

    title: str
    lines: tuple[Line, ...]

    @property
    def arms(self) -> list[str]:
        """The arms that were trained in this world."""
        return list(dict.fromkeys(arm for line in self.lines for arm in line.measured))

    @property
    def predictions(self) -> list[str]:
        """The predictions that this world has."""
        found = {name for line in self.lines for name in line.predicted}
        return [name for name in (OPTIMUM, ENFORCEABLE, LOWER_BOUND, NAIVE) if name in found]


def predicted_worlds(comparison: Comparison) -> list[PredictedWorld]:
    """Lists the worlds of a sweep that have a certificate, in the order of the levels and of the arms.

    An arm that changes an argument of the environment has another world. Certificates of earlier versions, which lack
    a prediction, have no world.
    """
    groups: dict[tuple[Level, str], list[Row]] = {}
    for row in comparison.results.finished:
        if row.row == row.method:  # not under a further deployment rule
            groups.setdefault((comparison.results.level_of(row), repr(_changes(row))), []).append(row)
    found = []
    for (level, _), rows in sorted(groups.items(), key=lambda item: item[0][0]):
        changes = _changes(rows[0])
        certificate = read_certificate(comparison.results.folder, level, changes)
        if certificate and "optimum_outcomes" in certificate:
            found.append(PredictedWorld(_title(certificate, rows[0].oversight), tuple(_lines(certificate, rows))))
    return found


def _changes(row: Row) -> dict[str, Any]:
    """The arguments of the environment in which the row's arm differs from the sweep."""
    return arms.parse_arm(row.method).env_kwargs


def _title(certificate: Mapping[str, Any], oversight: float) -> str:
    """The world and those of its parameters that are numbers or text, without its time limit."""
    parameters = {name: value for name, value in certificate["parameters"].items() if name not in LEFT_OUT}
    parts = [certificate["world"], *(f"{name}={value}" for name, value in parameters.items())]
    return ", ".join([" ".join(parts), f"oversight {oversight:g}"])


def _lines(certificate: Mapping[str, Any], rows: Sequence[Row]) -> list[Line]:
    lines = []
    for quantity, (metric, best, naive) in QUANTITIES.items():
        predicted = {OPTIMUM: certificate[best], NAIVE: certificate[naive]}
        if quantity == "true return":
            bound = ENFORCEABLE if certificate["enforceable_is_exact"] else LOWER_BOUND
            predicted = {
                OPTIMUM: certificate[best],
                bound: certificate["enforceable_return"],
                NAIVE: certificate[naive],
            }
        lines.append(_line(quantity, False, predicted, metric, rows))
    for outcome, best in certificate["optimum_outcomes"].items():
        predicted = {OPTIMUM: best, NAIVE: certificate["naive_optimum_outcomes"][outcome]}
        lines.append(_line(outcome, True, predicted, outcome_metric(outcome), rows))
    return [line for line in lines if not _is_rare(line)]


def _line(quantity: str, is_rate: bool, predicted: Mapping[str, Any], metric: str, rows: Sequence[Row]) -> Line:
    """The line of one quantity; a prediction that was not computed is left out."""
    values: dict[str, list[float]] = {}
    for row in rows:
        values.setdefault(arms.parse_arm(row.method).method, []).append(row.evaluation.get(metric, math.nan))
    known = {name: float(value) for name, value in predicted.items() if value is not None}
    measured = {arm: interval(over_seeds) for arm, over_seeds in values.items()}
    return Line(quantity, is_rate, known, {arm: found for arm, found in measured.items() if found.n})


def _is_rare(line: Line) -> bool:
    rates = [*line.predicted.values(), *(found.mean for found in line.measured.values())]
    return line.is_rate and max(rates, default=0) < RARE


def predictions_table(world: PredictedWorld) -> str:
    """Formats a world as a Markdown table: a line for each quantity, a column for each prediction and each arm."""
    names = [f"{name} (predicted)" for name in world.predictions] + world.arms
    lines = [world.title, "", "| | " + " | ".join(names) + " |", "|---" * (1 + len(names)) + "|"]
    for line in world.lines:
        cells = [number(line.predicted.get(name, math.nan)) for name in world.predictions]
        cells += [plusminus(line.measured.get(arm, interval([]))) for arm in world.arms]
        name = f"rate of “{line.quantity}”" if line.is_rate else line.quantity
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)
