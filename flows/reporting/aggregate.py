"""Over seeds: a mean, and Student's 95 % interval of it. One seed has a mean and no interval."""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from scipy.special import stdtrit

from flows.tracking.results import Results, Row

CONFIDENCE = 0.95


class Interval(NamedTuple):
    """mean - half to mean + half; half is nan for fewer than two values."""

    mean: float
    half: float
    n: int


class Cell(NamedTuple):
    """One row name at one oversight level, over its seeds."""

    row: str
    leaky: bool
    oversight: float
    true_return: Interval
    seen: Interval
    unseen: Interval
    without: dict[str, Interval]
    labels_used: Interval


def interval(values: Sequence[float]) -> Interval:
    """Mean and half-width t s / sqrt(n) of the values that are numbers (Student 1908)."""
    numbers = np.array([value for value in values if not math.isnan(value)])
    n = len(numbers)
    if n == 0:
        return Interval(math.nan, math.nan, 0)
    if n == 1:
        return Interval(float(numbers[0]), math.nan, 1)
    t = float(stdtrit(n - 1, (1 + CONFIDENCE) / 2))
    return Interval(float(numbers.mean()), float(t * numbers.std(ddof=1) / math.sqrt(n)), n)


def cells(results: Results) -> list[Cell]:
    """Every row name at every oversight level, of finished runs: scarcest level first, best first within."""
    groups: dict[tuple[float, str], list[Row]] = {}
    for row in results.finished:
        groups.setdefault((row.oversight, row.row), []).append(row)
    made = [_cell(rows, results.blocks) for rows in groups.values()]
    return sorted(made, key=lambda cell: (cell.oversight, -cell.true_return.mean))


def _cell(rows: list[Row], blocks: list[str]) -> Cell:
    def over(value: Callable[[Row], float]) -> Interval:
        return interval([value(row) for row in rows])

    return Cell(
        row=rows[0].row,
        leaky=rows[0].leaky,
        oversight=rows[0].oversight,
        true_return=over(lambda row: row.true_return),
        seen=over(lambda row: row.seen),
        unseen=over(lambda row: row.unseen),
        without={block: interval([row.without.get(block, math.nan) for row in rows]) for block in blocks},
        labels_used=over(lambda row: row.labels_used),
    )


class Curve(NamedTuple):
    """The true return along training, over seeds: (P,) arrays at the P steps that all seeds share."""

    step: np.ndarray
    mean: np.ndarray
    half: np.ndarray


def learning_curves(results: Results) -> dict[tuple[str, float], Curve]:
    """(method, oversight) -> its curve over the seeds that finished."""
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


COINCIDENCE = 0.015  # of the true return: two lines that are nowhere farther apart cannot be told apart


def without_coinciding(cells: Sequence[Cell]) -> list[Cell]:
    """The cells, but for those of rules whose line would lie on that of their method's first rule."""
    means = {(cell.row, cell.oversight): cell.true_return.mean for cell in cells}

    def distance(cell: Cell) -> float:
        first = means.get((cell.row.partition("/")[0], cell.oversight), math.inf)
        return abs(cell.true_return.mean - first)

    seen = {cell.row for cell in cells if "/" not in cell.row or distance(cell) > COINCIDENCE}
    return [cell for cell in cells if cell.row in seen]


def rank_rows(cells: Sequence[Cell]) -> list[str]:
    """Row names, the one that keeps most at the scarcest oversight first."""
    best: dict[str, tuple[float, float]] = {}
    for cell in cells:
        best[cell.row] = min(best.get(cell.row, (math.inf, 0.0)), (cell.oversight, -cell.true_return.mean))
    return sorted(best, key=lambda name: best[name])
