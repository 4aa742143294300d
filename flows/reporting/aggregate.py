"""Aggregates results over seeds: means, interquartile means, their intervals, verdicts and learning curves."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from flows.axis import Level
from flows.reporting.statistics import Interval, PointEstimate, interquartile_interval, interval
from flows.reporting.verdicts import Contrast, Place, contrast_rows
from flows.tracking.results import Results, Row

MEASURED = ("bad_acts", "bad_acts_monitored", "bad_acts_unmonitored", "bad_verdicts", "retained")  # fields of a cell
COINCIDENCE = 0.015  # of the true return: closer lines cannot be distinguished in a figure


class Cell(NamedTuple):
    """One row name at one level, aggregated over seeds."""

    row: str
    method: str
    """the arm, without the deployment rule"""
    leaky: bool
    oversight: float
    level: Level
    """of the sweep's axis; with another axis than oversight, `oversight` is the same in every cell"""
    returns: Mapping[int, float]
    """seed -> true return"""
    true_return: Interval
    interquartile_mean: PointEstimate
    seen: Interval
    unseen: Interval
    without: dict[str, Interval]
    labels_used: Interval
    bad_acts: Interval
    """expected number per episode, as the next two; n is 0 in a world without bad acts"""
    bad_acts_monitored: Interval
    bad_acts_unmonitored: Interval
    bad_verdicts: Interval
    retained: Interval
    """discounted true return without the rewards of steps that are bad acts"""
    scale: Interval
    """of the forget experts, as a measured rule chose it"""
    absorption: dict[str, Interval]
    stderr: Interval = interval([])
    """standard error of a run's sampled true return; n is 0 where returns are exact"""

    @property
    def monitored_share(self) -> float:
        """The monitored part of the bad acts; nan if there are none."""
        return self.bad_acts_monitored.mean / self.bad_acts.mean if self.bad_acts.mean > 0 else math.nan


class Comparison(NamedTuple):
    """The comparison table of a sweep, made once and shared by figures, page, terminal and Prefect's artifact."""

    results: Results
    cells: tuple[Cell, ...]
    """sorted by level, lowest first, then by true return, highest first"""
    contrasts: Mapping[Place, Contrast]
    """(row name, level) -> the row against the reference arm; empty if the reference has no result"""

    @property
    def levels(self) -> list[Level]:
        """The levels of the axis: numbers lowest first, others in the given order."""
        return sorted({cell.level for cell in self.cells})

    @property
    def rows(self) -> list[str]:
        """The row names, ranked by true return at the first level."""
        return rank_rows(self.cells)

    @property
    def across_levels(self) -> dict[str, PointEstimate]:
        """The interquartile mean of each row over all levels, levels as strata; rows that lack a level are left out."""
        entries = {row: [self.cell(row, level) for level in self.levels] for row in self.rows}
        return {
            row: interquartile_interval([list(cell.returns.values()) for cell in cells if cell])
            for row, cells in entries.items()
            if all(cells)
        }

    def label_cost(self, cell: Cell) -> float:
        """The labels that a run of the cell used, times the sweep's price of a label: in units of return."""
        return cell.labels_used.mean * self.results.label_price

    def mean_cost(self, level: Level) -> float:
        """The mean discounted true cost of a bad act at a level.

        It is the sum over the rows' runs of retained minus true return, divided by their sum of bad acts; nan if no run
        commits any.
        """
        rows = [row for row in self.results.finished if self.results.level_of(row) == level]
        known = [row for row in rows if not math.isnan(row.bad_acts + row.retained_return)]
        total = sum(row.bad_acts for row in known)
        lost = sum(row.retained_return - row.true_return for row in known)
        return lost / total if total > 0 else math.nan

    def at_level(self, level: Level) -> list[Cell]:
        """The cells of one level, best first."""
        return [cell for cell in self.cells if cell.level == level]

    def cell(self, row: str, level: Level) -> Cell | None:
        """The cell of a row name at a level, if a run finished there."""
        return next((cell for cell in self.cells if (cell.row, cell.level) == (row, level)), None)


def compare_rows(results: Results) -> Comparison:
    """Aggregate the finished runs of a sweep over their seeds."""
    groups: dict[tuple[Level, str], list[Row]] = {}
    for row in results.finished:
        groups.setdefault((results.level_of(row), row.row), []).append(row)
    cells = [_cell(level, rows, results.blocks, results.absorption_metrics) for (level, _), rows in groups.items()]
    cells.sort(key=lambda cell: (cell.level, -cell.true_return.mean))
    returns = {(cell.row, cell.level): cell.returns for cell in cells}
    leaky = {cell.row for cell in cells if cell.leaky}
    return Comparison(results, tuple(cells), contrast_rows(returns, leaky, results.reference_arm))


def _cell(level: Level, rows: list[Row], blocks: list[str], absorbed: list[str]) -> Cell:
    def over_seeds(value: Callable[[Row], float]) -> Interval:
        return interval([value(row) for row in rows])

    returns = {
        row.seed: row.true_return for row in rows if row.seed >= 0
    }  # a seed deleted in the MLflow UI reads as -1
    return Cell(
        row=rows[0].row,
        method=rows[0].method,
        leaky=rows[0].leaky,
        oversight=rows[0].oversight,
        level=level,
        returns=returns,
        interquartile_mean=interquartile_interval([[row.true_return for row in rows]]),
        true_return=over_seeds(lambda row: row.true_return),
        seen=over_seeds(lambda row: row.seen),
        unseen=over_seeds(lambda row: row.unseen),
        without={block: interval([row.without.get(block, math.nan) for row in rows]) for block in blocks},
        labels_used=over_seeds(lambda row: row.labels_used),
        bad_acts=over_seeds(lambda row: row.bad_acts),
        bad_acts_monitored=over_seeds(lambda row: row.bad_acts_monitored),
        bad_acts_unmonitored=over_seeds(lambda row: row.bad_acts_unmonitored),
        bad_verdicts=over_seeds(lambda row: row.bad_verdicts),
        retained=over_seeds(lambda row: row.retained_return),
        scale=over_seeds(lambda row: row.scale),
        absorption={name: interval([row.absorption.get(name, math.nan) for row in rows]) for name in absorbed},
        stderr=over_seeds(lambda row: row.true_return_stderr),
    )


class Curve(NamedTuple):
    """A quantity over seeds, such as the true return during training: (P,) arrays at the P steps that all share."""

    step: np.ndarray
    mean: np.ndarray
    half: np.ndarray
    leaky: bool
    """whether the method's first deployment rule reads what no overseer can know"""


def learning_curves(results: Results) -> dict[tuple[str, Level], Curve]:
    """Return the curve of each (method, level) over the seeds that finished."""
    groups: dict[tuple[str, Level], list[dict[float, float]]] = {}
    leaky = {row.row for row in results.finished if row.leaky}
    for run_id, row in {row.run_id: row for row in results.finished}.items():
        groups.setdefault((row.method, results.level_of(row)), []).append(dict(results.curves[run_id]))
    return {(method, level): mean_curve(runs, method in leaky) for (method, level), runs in groups.items()}


def mean_curve(runs: Sequence[Mapping[float, float]], leaky: bool = False) -> Curve:
    """Aggregate curves, step -> value, over seeds at the steps that all of them have."""
    steps = sorted(set.intersection(*(set(run) for run in runs)))
    intervals = [interval([run[step] for run in runs]) for step in steps]
    return Curve(
        np.array(steps),
        np.array([point.mean for point in intervals]),
        np.array([point.half for point in intervals]),
        leaky,
    )


def without_coinciding(cells: Sequence[Cell]) -> list[Cell]:
    """Drop the rows that differ nowhere by more than `COINCIDENCE` from their method's first deployment rule."""
    means = {(cell.row, cell.level): cell.true_return.mean for cell in cells}

    def distance(cell: Cell) -> float:
        first = means.get((cell.row.partition("/")[0], cell.level), math.inf)
        return abs(cell.true_return.mean - first)

    distinct = {cell.row for cell in cells if "/" not in cell.row or distance(cell) > COINCIDENCE}
    return [cell for cell in cells if cell.row in distinct]


def rank_rows(cells: Sequence[Cell]) -> list[str]:
    """Rank the row names by true return at the first level, highest first."""
    best: dict[str, tuple[Level, float]] = {}
    for cell in cells:
        found = cell.level, -cell.true_return.mean
        best[cell.row] = min(best.get(cell.row, found), found)
    return sorted(best, key=lambda name: best[name])
