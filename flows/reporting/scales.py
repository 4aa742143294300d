"""The scale curves of a sweep: what the policy does as its forget experts are scaled down from 1 to 0.

Scale 0 is the retain expert alone, scale 1 the policy as trained. The numbers are those of the policy at the end of
training, so a measured deployment rule could have chosen any of them.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from flows.axis import Level
from flows.reporting.aggregate import Comparison, Curve, mean_curve, rank_rows
from flows.reporting.figures import (
    INK,
    LETTER_WIDTH,
    MOST_BANDS,
    STYLE,
    TEXT_HEIGHT,
    LineEnd,
    draw_curve,
    fit_to_means,
    label_lines,
    plain_axes,
    png_bytes,
    row_styles,
)
from flows.reporting.statistics import Interval

QUANTITIES = {  # metric without `scale/` -> title of its panel
    "true_return": "true return",
    "bad_acts/monitored": "bad acts per episode, monitored",
    "bad_acts/unmonitored": "bad acts per episode, unmonitored",
}
WHOLE = "whole"  # the rule that deploys a policy as trained
ScaleCurves = Mapping[tuple[str, Level], Mapping[str, Curve]]


def scale_curves(comparison: Comparison) -> ScaleCurves:
    """Return (arm, level) -> metric -> curve over the scale, of the arms that their first rule does not deploy whole.

    The experts of an arm that is deployed whole share its behaviour in no particular way.
    """
    results = comparison.results
    groups: dict[tuple[str, Level], list[Mapping[str, Any]]] = {}
    for row in results.finished:
        if row.run_id in results.scales and row.row == row.method and row.deployment != WHOLE:
            groups.setdefault((row.method, results.level_of(row)), []).append(results.scales[row.run_id])
    return {
        place: {
            name: mean_curve([dict(run[name]) for run in runs])
            for name in QUANTITIES
            if all(name in run for run in runs)
        }
        for place, runs in groups.items()
    }


def chosen_scales(comparison: Comparison) -> dict[tuple[str, Level], list[Interval]]:
    """Return (arm, level) -> the scale that each of the arm's measured rules chose, over seeds."""
    chosen: dict[tuple[str, Level], list[Interval]] = {}
    for cell in comparison.cells:
        if cell.scale.n:
            chosen.setdefault((cell.method, cell.level), []).append(cell.scale)
    return chosen


def scales_figure(comparison: Comparison) -> bytes | None:
    """Draw the scale curves as a PNG, a row of panels for each level; None if no run has any.

    Lines are means over seeds, bands, for up to `MOST_BANDS` arms, 95 % intervals. A diamond marks the mean of the
    scales that a measured rule chose.
    """
    curves, chosen = scale_curves(comparison), chosen_scales(comparison)
    if not curves:
        return None
    ranked = [name for name in rank_rows(comparison.cells) if any(name == arm for arm, _ in curves)]
    styles = dict(zip(ranked, zip(*row_styles(ranked), strict=True), strict=True))
    levels = sorted({level for _, level in curves})
    metrics = [name for name in QUANTITIES if any(name in found for found in curves.values())]
    height = max(2.7, TEXT_HEIGHT * len(ranked))
    labels = max(1.5, 0.5 + LETTER_WIDTH * max(map(len, ranked)))
    size = (labels + 3.4 * len(metrics), 0.4 + (0.4 + height) * len(levels))
    figure = Figure(figsize=size, layout="constrained", dpi=150)
    panels = figure.subplots(len(levels), len(metrics), sharex=True, squeeze=False)
    for row, level in zip(panels, levels, strict=True):
        for axes, metric in zip(row, metrics, strict=True):
            _panel(
                axes,
                metric,
                {arm: found[metric] for (arm, at), found in curves.items() if at == level and metric in found},
                styles,
            )
            for arm, scales in ((arm, scales) for (arm, at), scales in chosen.items() if at == level):
                if metric in curves.get((arm, level), {}):
                    _mark(axes, scales, curves[arm, level][metric], styles[arm][0])
            axes.set_title(QUANTITIES[metric], loc="left", fontsize=9, color=INK)
        row[0].set_ylabel(level.title, parse_math=False, **STYLE)
        ends = [
            LineEnd(1.0, float(found[metrics[-1]].mean[-1]), arm, styles[arm][0])
            for (arm, at), found in curves.items()
            if at == level
        ]
        label_lines(row[-1], ends, TEXT_HEIGHT / height, left=1.1)
    figure.supxlabel("scale of the forget experts", **STYLE)
    return png_bytes(figure)


def _panel(axes: Axes, metric: str, curves: Mapping[str, Curve], styles: Mapping[str, Any]) -> None:
    plain_axes(axes)
    for arm, curve in curves.items():
        colour, linestyle = styles[arm]
        draw_curve(axes, curve, colour, linestyle, band=len(curves) <= MOST_BANDS)
    axes.set_xlim(0, 1)
    fit_to_means(axes, np.concatenate([curve.mean for curve in curves.values()]))
    if metric != "true_return":
        axes.set_ylim(bottom=min(0.0, *(float(curve.mean.min()) for curve in curves.values())))


def _mark(axes: Axes, scales: Sequence[Interval], curve: Curve, colour: str) -> None:
    """Mark the mean chosen scale of each rule on the arm's line."""
    x = [scale.mean for scale in scales]
    y = np.interp(x, curve.step, curve.mean)
    style: dict[str, Any] = {"marker": "D", "s": 42, "facecolor": "white", "edgecolor": colour, "linewidth": 1.6}
    axes.scatter(x, y, zorder=5, clip_on=False, **style)
