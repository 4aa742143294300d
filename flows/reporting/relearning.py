"""Relearning: how many updates on the proxy reward bring removed bad acts back.

After training, a copy of each deployed policy is fine-tuned on the proxy reward alone (`agents.relearning`). An arm has
regained half at the first update at which its bad acts reach deployed + (reference - deployed) / 2, interpolated
linearly. The reference is the rate of a policy from which nothing was removed. A run whose fine-tuning ends before has
a censored value: more updates than it had. Such values are ordered above all others and never averaged.
"""

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from flows import arms
from flows.axis import Level
from flows.reporting.aggregate import Comparison, Curve, mean_curve, rank_rows
from flows.reporting.figures import (
    DOTS,
    INK,
    MOST_BANDS,
    REFERENCE_LABEL,
    STYLE,
    TEXT_HEIGHT,
    LineEnd,
    draw_curve,
    label_lines,
    plain_axes,
    png_bytes,
    row_styles,
    width_with_labels,
)
from flows.reporting.statistics import Interval, interval
from flows.tracking.results import Points, Row

NOT_REMOVED = 0.9  # of the reference: an arm that commits as many bad acts as deployed has removed nothing
BY_PROXY, BY_CURVES = "arm proxy as deployed", "highest end of a fine-tuning curve"


class ReferenceRate(NamedTuple):
    """The bad acts per episode of a policy from which nothing was removed."""

    rate: float
    source: str
    """`BY_PROXY` or `BY_CURVES`"""


class Relearned(NamedTuple):
    """The fine-tuning curves of one arm at one level."""

    arm: str
    level: Level
    curves: tuple[Points, ...]
    """for each seed, (update, bad acts per episode)"""
    curve: Curve
    """their mean"""
    deployed: Interval
    """bad acts per episode before fine-tuning"""
    final: Interval
    """after the last update"""
    reference: ReferenceRate
    updates: tuple[float, ...]
    """for each seed, the updates to regain half: inf if it was not reached, nan if nothing was removed"""
    last: int
    """updates of the fine-tuning"""

    @property
    def text(self) -> str:
        """The median of the updates to regain half, with the number of seeds that it rests on."""
        removed = [count for count in self.updates if not math.isnan(count)]
        if not removed:
            return "nothing removed"
        middle = float(np.median(removed)) if all(map(math.isfinite, removed)) else _censored_median(removed)
        parts = [f"{len(removed)} seed{'s' * (len(removed) > 1)}"]
        if censored := sum(map(math.isinf, removed)):
            parts.append(f"{censored} not reached")
        if unchanged := len(self.updates) - len(removed):
            parts.append(f"nothing removed in {unchanged} more")
        return f"{f'> {self.last}' if math.isinf(middle) else f'{middle:.3g}'} ({', '.join(parts)})"


def _censored_median(values: Sequence[float]) -> float:
    """The median of values of which some are inf; inf if one of the middle two is."""
    ordered = sorted(values)
    low, high = ordered[(len(ordered) - 1) // 2], ordered[len(ordered) // 2]
    return math.inf if math.isinf(high) else (low + high) / 2


def relearned_arms(comparison: Comparison) -> list[Relearned]:
    """Return the arms whose runs were fine-tuned, by level, then ranked by true return at the first level."""
    results = comparison.results
    groups: dict[tuple[Level, str], dict[str, Row]] = {}
    for row in results.finished:
        if row.run_id in results.relearning:
            groups.setdefault((results.level_of(row), row.method), {})[row.run_id] = row
    ranks = {name: rank for rank, name in enumerate(rank_rows(comparison.cells))}
    found = []
    for (level, arm), rows in sorted(groups.items(), key=lambda item: (item[0][0], ranks.get(item[0][1], 0))):
        same_world = [
            run
            for (at, other), runs in groups.items()
            if at == level and _parsed(other).world == _parsed(arm).world
            for run in runs
        ]
        reference = _reference(comparison, level, arm, [results.relearning[run] for run in same_world])
        found.append(_relearned(arm, level, [results.relearning[run] for run in rows], reference))
    return found


class _Parsed(NamedTuple):
    method: str
    world: str
    """the arguments of the environment that the arm changes"""


def _parsed(arm: str) -> _Parsed:
    """The parts of an arm's name; an arm of another version, which this one cannot parse, changes no argument."""
    try:
        parsed = arms.parse_arm(arm)
    except ValueError:
        return _Parsed(arm, "{}")
    return _Parsed(parsed.method, repr(dict(sorted(parsed.env_kwargs.items()))))


def _reference(comparison: Comparison, level: Level, arm: str, curves: Sequence[Points]) -> ReferenceRate:
    """The mean rate of the arm `proxy` in the arm's world at the level, or else the highest last point of a curve."""
    world = _parsed(arm).world
    rates = [
        row.bad_acts
        for row in comparison.results.finished
        if comparison.results.level_of(row) == level
        and row.row == row.method
        and _parsed(row.method) == ("proxy", world)
        and not math.isnan(row.bad_acts)
    ]
    if rates:
        return ReferenceRate(float(np.mean(rates)), BY_PROXY)
    return ReferenceRate(max(curve[-1][1] for curve in curves), BY_CURVES)


def _relearned(arm: str, level: Level, curves: Sequence[Points], reference: ReferenceRate) -> Relearned:
    return Relearned(
        arm,
        level,
        tuple(curves),
        mean_curve([dict(curve) for curve in curves]),
        deployed=interval([curve[0][1] for curve in curves]),
        final=interval([curve[-1][1] for curve in curves]),
        reference=reference,
        updates=tuple(updates_to_regain_half(curve, reference.rate) for curve in curves),
        last=int(max(curve[-1][0] for curve in curves)),
    )


def updates_to_regain_half(curve: Points, reference: float) -> float:
    """Return the first update at which a curve has regained half of the removed bad acts.

    Args:
        curve: (update, bad acts per episode) points; the first is of the deployed policy.
        reference: bad acts per episode of a policy from which nothing was removed.

    Returns:
        The update, interpolated linearly; inf if the curve does not reach it, nan if nothing was removed.
    """
    deployed = curve[0][1]
    if deployed >= NOT_REMOVED * reference:
        return math.nan
    target = deployed + (reference - deployed) / 2
    for (before, low), (after, high) in pairwise(curve):
        if high >= target:
            return before + (after - before) * (target - low) / (high - low)
    return math.inf


def relearning_figure(comparison: Comparison) -> bytes | None:
    """Draw bad acts over the updates of fine-tuning as a PNG, a panel for each level; None if no run has any.

    Lines are means over seeds, bands, for up to `MOST_BANDS` arms, 95 % intervals, dotted lines references.
    """
    relearned = relearned_arms(comparison)
    if not relearned:
        return None
    names = list(dict.fromkeys(found.arm for found in relearned))
    styles = dict(zip(names, zip(*row_styles(names), strict=True), strict=True))
    levels = sorted({found.level for found in relearned})
    height = max(2.7, TEXT_HEIGHT * (1 + len(names)))
    width = width_with_labels(8.6, names)
    figure = Figure(figsize=(width, 0.4 + (0.4 + height) * len(levels)), layout="constrained", dpi=150)
    panels = figure.subplots(len(levels), 1, sharex=True, squeeze=False)[:, 0]
    for axes, level in zip(panels, levels, strict=True):
        _panel(axes, [found for found in relearned if found.level == level], styles, TEXT_HEIGHT / height)
    panels[-1].set_xlabel("updates on the proxy reward", **STYLE)
    return png_bytes(figure)


def _panel(axes: Axes, relearned: Sequence[Relearned], styles: Mapping[str, Any], gap: float) -> None:
    plain_axes(axes)
    axes.set_title(relearned[0].level.title, loc="left", fontsize=9, color=INK, parse_math=False)
    axes.set_ylabel("bad acts per episode", **STYLE)
    last = max(found.last for found in relearned)
    axes.set_xscale("symlog", linthresh=1, linscale=0.4)
    axes.set_xticks(ticks := _ticks(last), [str(tick) for tick in ticks])
    axes.set_xlim(0, last)
    axes.minorticks_off()
    ends = []
    for found in relearned:
        colour, line = styles[found.arm]
        draw_curve(axes, found.curve, colour, line, band=len(relearned) <= MOST_BANDS)
        ends.append(LineEnd(float(found.curve.step[-1]), float(found.curve.mean[-1]), found.arm, colour))
    rates = [found.reference.rate for found in relearned] + [float(found.curve.mean.max()) for found in relearned]
    axes.set_ylim(0, 1.1 * max(rates) or 1.0)
    for reference in {found.reference for found in relearned}:
        axes.axhline(reference.rate, zorder=1, **DOTS)
        ends.append(LineEnd(last, reference.rate, f"reference: {reference.source}", REFERENCE_LABEL))
    label_lines(axes, ends, gap)


def _ticks(last: int) -> list[int]:
    """0, the powers of two up to `last`, and `last`."""
    powers = [2**n for n in range(last.bit_length()) if 2**n * 1.4 < last]
    return [0, *powers, last]
