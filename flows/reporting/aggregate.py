"""Aggregates results over seeds: means, Student's 95 % intervals, the comparison table and learning curves."""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from scipy.special import stdtrit

from flows.tracking.results import Results, Row

CONFIDENCE = 0.95
COINCIDENCE = 0.015  # of the true return: closer lines cannot be distinguished in a figure


class Interval(NamedTuple):
    """The interval from mean - half to mean + half over n values; half is nan for fewer than two values."""

    mean: float
    half: float
    n: int


class Cell(NamedTuple):
    """One row name at one oversight level, aggregated over seeds."""

    row: str
    leaky: bool
    oversight: float
    true_return: Interval
    seen: Interval
    unseen: Interval
    without: dict[str, Interval]
    labels_used: Interval


class Comparison(NamedTuple):
    """The comparison table of a sweep, made once and shared by figures, page, terminal and Prefect's artifact."""

    results: Results
    cells: tuple[Cell, ...]
    """sorted by oversight level, lowest first, then by true return, highest first"""

    @property
    def levels(self) -> list[float]:
        """The oversight levels, lowest first."""
        return sorted({cell.oversight for cell in self.cells})

    @property
    def rows(self) -> list[str]:
        """The row names, ranked by true return at the lowest oversight level."""
        return rank_rows(self.cells)

    def at_level(self, level: float) -> list[Cell]:
        """The cells of one oversight level, best first."""
        return [cell for cell in self.cells if cell.oversight == level]

    def cell(self, row: str, level: float) -> Cell | None:
        """The cell of a row name at an oversight level, if a run finished there."""
        return next((cell for cell in self.cells if (cell.row, cell.oversight) == (row, level)), None)


def compare_rows(results: Results) -> Comparison:
    """Aggregate the finished runs of a sweep over their seeds."""
    groups: dict[tuple[float, str], list[Row]] = {}
    for row in results.finished:
        groups.setdefault((row.oversight, row.row), []).append(row)
    cells = [_cell(rows, results.blocks) for rows in groups.values()]
    return Comparison(results, tuple(sorted(cells, key=lambda cell: (cell.oversight, -cell.true_return.mean))))


def interval(values: Sequence[float]) -> Interval:
    """Compute mean and half-width t s / sqrt(n) of Student's interval (Student 1908); nan values are dropped."""
    numbers = np.array([value for value in values if not math.isnan(value)])
    n = len(numbers)
    if n == 0:
        return Interval(math.nan, math.nan, 0)
    if n == 1:
        return Interval(float(numbers[0]), math.nan, 1)
    t = float(stdtrit(n - 1, (1 + CONFIDENCE) / 2))
    return Interval(float(numbers.mean()), float(t * numbers.std(ddof=1) / math.sqrt(n)), n)


def _cell(rows: list[Row], blocks: list[str]) -> Cell:
    def over_seeds(value: Callable[[Row], float]) -> Interval:
        return interval([value(row) for row in rows])

    return Cell(
        row=rows[0].row,
        leaky=rows[0].leaky,
        oversight=rows[0].oversight,
        true_return=over_seeds(lambda row: row.true_return),
        seen=over_seeds(lambda row: row.seen),
        unseen=over_seeds(lambda row: row.unseen),
        without={block: interval([row.without.get(block, math.nan) for row in rows]) for block in blocks},
        labels_used=over_seeds(lambda row: row.labels_used),
    )


class Curve(NamedTuple):
    """The true return during training over seeds: (P,) arrays at the P steps that all seeds share."""

    step: np.ndarray
    mean: np.ndarray
    half: np.ndarray


def learning_curves(results: Results) -> dict[tuple[str, float], Curve]:
    """Return the curve of each (method, oversight level) over the seeds that finished."""
    groups: dict[tuple[str, float], list[dict[int, float]]] = {}
    for run_id, row in {row.run_id: row for row in results.finished}.items():
        groups.setdefault((row.method, row.oversight), []).append(dict(results.curves[run_id]))
    return {key: _curve(runs) for key, runs in groups.items()}


def _curve(runs: list[dict[int, float]]) -> Curve:
    steps = sorted(set.intersection(*(set(run) for run in runs)))
    intervals = [interval([run[step] for run in runs]) for step in steps]
    return Curve(
        np.array(steps),
        np.array([point.mean for point in intervals]),
        np.array([point.half for point in intervals]),
    )


def without_coinciding(cells: Sequence[Cell]) -> list[Cell]:
    """Drop the rows that differ nowhere by more than `COINCIDENCE` from their method's first deployment rule."""
    means = {(cell.row, cell.oversight): cell.true_return.mean for cell in cells}

    def distance(cell: Cell) -> float:
        first = means.get((cell.row.partition("/")[0], cell.oversight), math.inf)
        return abs(cell.true_return.mean - first)

    distinct = {cell.row for cell in cells if "/" not in cell.row or distance(cell) > COINCIDENCE}
    return [cell for cell in cells if cell.row in distinct]


def rank_rows(cells: Sequence[Cell]) -> list[str]:
    """Rank the row names by true return at the lowest oversight level, highest first."""
    best: dict[str, tuple[float, float]] = {}
    for cell in cells:
        best[cell.row] = min(best.get(cell.row, (math.inf, 0.0)), (cell.oversight, -cell.true_return.mean))
    return sorted(best, key=lambda name: best[name])
