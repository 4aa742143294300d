"""Draws the picture of a study: a panel for each `agents.studies.Panel`, with means and 95 % intervals over seeds."""

import math
from collections.abc import Mapping, Sequence
from textwrap import fill
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from agents.studies import Panel, Study
from flows.reporting.figures import COLOURS, FAINT, INK, LINES, MARKERS, STYLE, plain_axes, png_bytes
from flows.reporting.statistics import Interval, interval
from flows.tracking.study_results import StudyResults, StudyRow

PANEL_WIDTH, PANEL_HEIGHT, LETTER = 5.2, 3.1, 0.075  # inches; of a letter of an arm's name
COLUMNS = 2  # panels in a row
WIDE, HIGH = 60, 42  # letters in a line of a horizontal and of a vertical label


def study_figure(study: Study, results: StudyResults) -> bytes:
    """Draws the panels of a study as a PNG."""
    count = len(study.panels)
    columns = min(COLUMNS, count)
    rows = math.ceil(count / columns)
    names = LETTER * max(map(len, study.arms))  # room to the left of panels with a row for each arm
    lines = max(1.0, len(study.arms) * 0.1)
    figure = Figure(
        figsize=(columns * (PANEL_WIDTH + names), rows * (PANEL_HEIGHT * lines)), dpi=130, layout="constrained"
    )
    panels = list(figure.subplots(rows, columns, squeeze=False).flat)
    for panel, axes in zip(study.panels, panels, strict=False):
        DRAW[panel.over](axes, panel, study, results)
        plain_axes(axes)
    for axes in panels[count:]:
        axes.set_visible(False)
    return png_bytes(figure)


def _arms(panel: Panel, study: Study) -> Sequence[str]:
    return panel.arms or list(study.arms)


def _style(study: Study, arm: str) -> dict[str, Any]:
    """Colour and line style of an arm; equal in all panels."""
    index = list(study.arms).index(arm)
    return {"color": COLOURS[index % len(COLOURS)], "linestyle": LINES[index // len(COLOURS) % len(LINES)]}


def _finished(results: StudyResults, arm: str) -> list[StudyRow]:
    return [row for row in results.rows if row.arm == arm and row.status == "FINISHED"]


def _draw_arms(axes: Axes, panel: Panel, study: Study, results: StudyResults) -> None:
    """A row for each arm: a point for each seed, and mean and interval over them. Of several levels, the first."""
    arms = _arms(panel, study)
    first = str(study.presets[results.preset][study.axis][0]) if study.axis else ""
    for y, arm in enumerate(arms):
        values = [row.readouts.get(panel.readout, math.nan) for row in _finished(results, arm) if row.level == first]
        found = interval(values)
        axes.plot(values, [y] * len(values), "o", color=FAINT, markersize=3.5, zorder=2)
        colour = _style(study, arm)["color"]
        half = [[np.nan_to_num(found.half)]] * 2
        axes.errorbar([found.mean], [y], xerr=half, fmt="s", color=colour, markersize=6, capsize=3, zorder=3)
    axes.set_yticks(range(len(arms)), arms)
    axes.set_ylim(len(arms) - 0.5, -0.5)
    at = f", {study.axis.replace('_', ' ')} {first}" if study.axis else ""
    axes.set_xlabel(fill(panel.label + at, WIDE), **STYLE)
    if panel.log:
        axes.set_xscale("log")


def _draw_axis(axes: Axes, panel: Panel, study: Study, results: StudyResults) -> None:
    """A line for each arm over the levels of the axis; levels that are no numbers have equal distances."""
    levels = study.presets[results.preset][study.axis]
    numeric = all(isinstance(level, int | float) for level in levels)
    x = list(map(float, levels)) if numeric else list(range(len(levels)))
    for index, arm in enumerate(_arms(panel, study)):
        rows = _finished(results, arm)
        found = [
            interval([row.readouts.get(panel.readout, math.nan) for row in rows if row.level == str(level)])
            for level in levels
        ]
        _line(axes, x, found, arm, _style(study, arm), MARKERS[index % len(MARKERS)])
    if not numeric:
        axes.set_xticks(x, list(map(str, levels)))
    elif len(levels) > 3 and max(x) > 20 * min((value for value in x if value > 0), default=1.0):
        axes.set_xscale("symlog", linthresh=min(value for value in x if value > 0))
        axes.set_xticks(x, [f"{level:g}" for level in levels])
        axes.minorticks_off()
    _finish(axes, panel, study.axis)


def _draw_steps(axes: Axes, panel: Panel, study: Study, results: StudyResults) -> None:
    """A line for each arm over the steps of a recorded curve."""
    for arm in _arms(panel, study):
        points: Mapping[float, list[float]] = {}
        for row in _finished(results, arm):
            for step, value in row.curves.get(panel.readout, ()):
                points.setdefault(step, []).append(value)  # type: ignore[attr-defined]
        steps = sorted(points)
        _line(axes, steps, [interval(points[step]) for step in steps], arm, _style(study, arm))
    _finish(axes, panel, "step")


def _line(
    axes: Axes, x: Sequence[float], found: Sequence[Interval], arm: str, style: dict[str, Any], marker: str = ""
) -> None:
    means = np.array([value.mean for value in found])
    halves = np.nan_to_num([value.half for value in found])
    axes.plot(x, means, label=arm, marker=marker or None, markersize=5, linewidth=1.6, zorder=3, **style)
    axes.fill_between(x, means - halves, means + halves, color=style["color"], alpha=0.13, lw=0)


def _finish(axes: Axes, panel: Panel, horizontal: str) -> None:
    axes.set_xlabel(panel.horizontal or horizontal.replace("_", " "), **STYLE)
    axes.set_ylabel(fill(panel.label, HIGH), **STYLE)
    if panel.log:
        axes.set_yscale("log")
    axes.legend(frameon=False, fontsize=7.5, labelcolor=INK)


DRAW = {"arms": _draw_arms, "axis": _draw_axis, "steps": _draw_steps}
