"""One picture: a small panel for each subject; a dot is a median, its line goes from least to most."""

import textwrap
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Page

from benchmarks.harness.figures import Figure, Subject

COLUMNS, WIDE, HIGH = 2, 13.0, 2.6
COLOURS = ("#1f5a8a", "#d1762b", "#4d8f4a")
QUIET = "0.45"
LOG_FROM = 8.0  # where the greatest is this many times the least


def draw(measured: Sequence[tuple[Subject, Sequence[Figure]]], path: Path) -> None:
    """Write the picture of all subjects."""
    heights = [_height(measured[i : i + COLUMNS]) for i in range(0, len(measured), COLUMNS)]
    page = Page(figsize=(WIDE, sum(heights)), layout="constrained")
    grid = page.subfigures(len(heights), COLUMNS, squeeze=False, hspace=0.04, wspace=0.03, height_ratios=heights)
    places = grid.ravel()
    for place, (subject, figures) in zip(places, measured, strict=False):
        place.suptitle(subject.title, fontsize=10, fontweight="bold", x=0.01, ha="left")
        panel = place.subplots()
        (_lines if figures[0].series else _dots)(panel, figures, subject.unit)
        panel.spines[["top", "right"]].set_visible(False)
        panel.tick_params(labelsize=8)
    page.savefig(path, dpi=110)


def _height(row: Sequence[tuple[Subject, Sequence[Figure]]]) -> float:
    """Inches: lines have one height, dots as much as their names need."""
    return max([HIGH, *(1.0 + 0.2 * len(figures) for _, figures in row if not figures[0].series)])


def _dots(panel: Axes, figures: Sequence[Figure], unit: str) -> None:
    """A row for each figure, the first on top, with its number beside it."""
    for place, figure in enumerate(reversed(figures)):
        median, least, most = figure.value
        panel.plot([least, most], [place, place], color=COLOURS[0], linewidth=1.5)
        panel.plot(median, place, "o", color=COLOURS[0], markersize=5)
        panel.annotate(f"{median:.3g}", (most, place), (6, 0), textcoords="offset points", fontsize=8, va="center")
    panel.set_yticks(range(len(figures)), [figure.name for figure in reversed(figures)])
    panel.set_ylim(-0.5, len(figures) - 0.5)
    panel.set_xlabel(unit, fontsize=8, color=QUIET)
    values = [1.0, *(number for figure in figures for number in figure.value)]
    panel.axvline(1, color=QUIET, linewidth=0.8, linestyle=":")
    if min(values) > 0 and max(values) > LOG_FROM * min(values):
        panel.set_xscale("log")
        panel.set_xlim(min(values) / 1.5, 2.5 * max(values))
        panel.xaxis.set_major_formatter("{x:g}")
    else:
        panel.set_xlim(0, 1.15 * max(values))


def _lines(panel: Axes, figures: Sequence[Figure], unit: str) -> None:
    """A line for each series, named in the legend."""
    for colour, name in zip(COLOURS, dict.fromkeys(figure.series for figure in figures), strict=False):
        points = [figure for figure in figures if figure.series == name]
        x = [float(point.x or 0) for point in points]
        median, least, most = np.array([point.value for point in points]).T
        panel.errorbar(
            x,
            median,
            [median - least, most - median],
            color=colour,
            marker="o",
            markersize=4,
            capsize=2,
            linewidth=1.5,
            label=name,
        )
    ticks = sorted({figure.x for figure in figures if figure.x is not None})
    panel.axhline(1, color=QUIET, linewidth=0.8, linestyle=":")
    medians = [figure.value.median for figure in figures]
    if ticks[-1] > LOG_FROM / 2 * ticks[0]:
        panel.set_xscale("log", base=2)
    if max(medians) > LOG_FROM * min(medians):
        panel.set_yscale("log")
        panel.yaxis.set_major_formatter("{x:g}")
    else:
        panel.set_ylim(0, 1.15 * max(medians))
    panel.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    panel.minorticks_off()
    panel.set_ylabel(textwrap.fill(unit, 24), fontsize=8, color=QUIET)
    panel.legend(fontsize=8, frameon=False)
