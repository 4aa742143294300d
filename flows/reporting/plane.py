"""The plane of a sweep: bad acts per episode against retained return, one point for each row at each level.

The true return is the retained return minus what bad acts cost, so points of equal true return lie on a line. Its slope
is the mean discounted true cost of a bad act (`Comparison.mean_cost`). The lines are exact where every bad act costs
the same; otherwise, and where an act's cost is discounted by the time at which it happens, they are approximate.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.path import Path
from matplotlib.ticker import MaxNLocator

from flows.axis import Level
from flows.reporting.aggregate import Cell, Comparison, rank_rows, without_coinciding
from flows.reporting.figures import (
    FAINT,
    INK,
    REFERENCE_LABEL,
    STYLE,
    TEXT_HEIGHT,
    LineEnd,
    label_lines,
    plain_axes,
    png_bytes,
    row_styles,
    width_with_labels,
)

DOT = 75.0  # area of a marker, in square points
LINE: dict[str, Any] = {"color": "#c9d0d7", "linewidth": 0.8, "zorder": 1}


def plane_figure(comparison: Comparison) -> bytes | None:
    """Draw the plane as a PNG, a panel for each level with bad acts; None if there is no such level.

    The filled part of a marker is the share of the bad acts that are unmonitored. Bars are 95 % intervals over seeds.
    """
    cells = [cell for cell in without_coinciding(comparison.cells) if cell.bad_acts.n and cell.retained.n]
    levels = sorted({cell.level for cell in cells})
    if not levels:
        return None
    names = rank_rows(cells)
    colours = dict(zip(names, row_styles(names)[0], strict=True))
    rows = max(sum(cell.level == level for cell in cells) for level in levels)
    height = max(3.6, 0.6 + TEXT_HEIGHT * rows)
    width = width_with_labels(10.5, names)
    figure = Figure(figsize=(width, 0.6 + (height + 0.4) * len(levels)), layout="constrained", dpi=150)
    for axes, level in zip(figure.subplots(len(levels), 1, squeeze=False).flat, levels, strict=True):
        _panel(axes, [cell for cell in cells if cell.level == level], colours, comparison, level)
    _explain_markers(figure)
    label_gap = TEXT_HEIGHT / height
    for axes, level in zip(figure.axes, levels, strict=True):
        _label_points(axes, [cell for cell in cells if cell.level == level], colours, label_gap)
    return png_bytes(figure)


def _explain_markers(figure: Figure) -> None:
    """Name what the filled part of a marker and the grey lines mean, above the panels."""
    shown = [(0.0, "all bad acts monitored"), (0.4, "40 % unmonitored"), (1.0, "all unmonitored")]
    circle: dict[str, Any] = {"color": INK, "linestyle": "", "markersize": 8}
    handles: list[Any] = []
    for share, _ in shown:
        outline = Line2D([], [], marker="o", markerfacecolor="white", markeredgewidth=1.2, **circle)
        wedge = Line2D([], [], marker=_wedge(share), markeredgewidth=0, **circle)
        handles.append((outline, wedge) if share else outline)
    handles.append(Line2D([], [], **{**LINE, "linewidth": 1.2}))
    names = [*(name for _, name in shown), "equal true return"]
    figure.legend(handles, names, loc="outside upper center", ncols=len(names), frameon=False, fontsize=8.5)


def _panel(axes: Axes, cells: Sequence[Cell], colours: dict[str, str], comparison: Comparison, level: Level) -> None:
    plain_axes(axes)
    axes.grid(visible=False)
    axes.set_title(level.title, loc="left", fontsize=10, color=INK, parse_math=False)
    axes.set_xlabel("bad acts per episode", **STYLE)
    axes.set_ylabel("retained return", **STYLE)
    for cell in cells:
        _draw(axes, cell, colours[cell.row])
    acts, returns = [cell.bad_acts.mean for cell in cells], [cell.retained.mean for cell in cells]
    known = comparison.results.references.get(level)
    if known:
        returns.append(known.optimal_return)
    wide, low, high = max(acts) or 1.0, min(returns), max(returns)
    margin = 0.12 * (high - low or 0.2)
    axes.set_xlim(-0.03 * wide, 1.08 * wide)
    axes.set_ylim(low - margin, high + margin)
    cost = comparison.mean_cost(level)
    if not math.isnan(cost):
        _equal_returns(axes, cost)
        if known:
            _equal_return(axes, cost, known.optimal_return, {"linestyle": (0, (1, 2)), "color": FAINT}, "optimum")


def _draw(axes: Axes, cell: Cell, colour: str) -> None:
    """Draw a point with its intervals; the marker is filled clockwise from the top by the unmonitored share."""
    x, y = cell.bad_acts, cell.retained
    across, up = np.nan_to_num([x.half, y.half])  # one seed: no interval
    axes.errorbar(
        [x.mean], [y.mean], xerr=[across], yerr=[up], fmt="none", ecolor=colour, elinewidth=2.6, alpha=0.25, zorder=2
    )
    style: dict[str, Any] = {"linestyle": ":" if cell.leaky else "-", "linewidth": 1.3, "edgecolor": colour, "s": DOT}
    axes.scatter([x.mean], [y.mean], marker="o", facecolor="white", zorder=3, **style)
    unmonitored = 1 - cell.monitored_share
    if unmonitored > 0:  # nan compares false: no bad acts
        axes.scatter([x.mean], [y.mean], marker=_wedge(unmonitored), color=colour, linewidth=0, s=DOT, zorder=4)


def _wedge(share: float) -> Path:
    """A part of the unit circle, clockwise from the top."""
    if share > 0.995:
        return Path.unit_circle()
    # matplotlib scales a marker by its farthest coordinate; the invisible corner keeps all wedges at the circle's scale
    angles = np.linspace(np.pi / 2, np.pi / 2 - 2 * np.pi * share, max(3, int(60 * share)))
    outline = [(0.0, 0.0), *zip(np.cos(angles), np.sin(angles), strict=True), (0.0, 0.0)]
    codes = [Path.MOVETO, *[Path.LINETO] * (len(outline) - 2), Path.CLOSEPOLY, Path.MOVETO]
    return Path([*outline, (1.0, 0.0)], codes)


def _equal_returns(axes: Axes, cost: float) -> None:
    """Draw lines of equal true return; each meets the left axis at its true return."""
    (low, high), right = axes.get_ylim(), axes.get_xlim()[1]
    reach = sorted((low, high, low - cost * right, high - cost * right))
    for value in MaxNLocator(9).tick_values(reach[0], reach[-1]):
        _equal_return(axes, cost, float(value), {}, f"{round(float(value), 6):g}")


def _equal_return(axes: Axes, cost: float, value: float, style: dict, text: str) -> None:
    """Draw the line on which retained return minus cost times bad acts has a value, with its name at the right end."""
    (low, high), (left, right) = axes.get_ylim(), axes.get_xlim()
    x = np.array([max(left, 0.0), right])
    y = value + cost * x
    if y.max() < low or y.min() > high:
        return
    axes.plot(x, y, **{**LINE, **style})
    if y[1] > high:
        x[1], y[1] = (high - value) / cost, high
    elif y[1] < low:
        x[1], y[1] = (low - value) / cost, low
    place: dict[str, Any] = {"fontsize": 7, "color": REFERENCE_LABEL, "zorder": 1.5, "clip_on": True}
    frame: dict[str, Any] = {"facecolor": "white", "edgecolor": "none", "pad": 0.8}
    axes.text(x[1], y[1], text, ha="right", va="top" if y[1] >= high else "center", bbox=frame, **place)


def _label_points(axes: Axes, cells: Sequence[Cell], colours: dict[str, str], gap: float) -> None:
    ends = [
        LineEnd(
            cell.bad_acts.mean, cell.retained.mean, f"{cell.row} (leaky)" if cell.leaky else cell.row, colours[cell.row]
        )
        for cell in cells
    ]
    label_lines(axes, ends, gap)
