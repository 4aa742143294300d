"""Picture of the benchmark: one panel per subject; a dot marks the median, its line spans least to most."""

import textwrap
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Page

from benchmarks.harness.figures import Figure, Subject

COLUMNS, PAGE_WIDTH, LINE_HEIGHT = 2, 13.0, 2.6  # columns, inches, inches
COLOURS = ("#1f5a8a", "#d1762b", "#4d8f4a")
GREY = "0.45"
LOG_FROM = 8.0  # logarithmic axis if the largest value exceeds this many times the smallest


def draw(results: Sequence[tuple[Subject, Sequence[Figure]]], path: Path) -> None:
    """Draw all subjects and save the picture at `path`."""
    heights = [_height(results[i : i + COLUMNS]) for i in range(0, len(results), COLUMNS)]
    page = Page(figsize=(PAGE_WIDTH, sum(heights)), layout="constrained")
    grid = page.subfigures(len(heights), COLUMNS, squeeze=False, hspace=0.04, wspace=0.03, height_ratios=heights)
    places = grid.ravel()
    for place, (subject, figures) in zip(places, results, strict=False):
        place.suptitle(subject.title, fontsize=10, fontweight="bold", x=0.01, ha="left")
        panel = place.subplots()
        (_lines if figures[0].series else _dots)(panel, figures, subject.unit)
        panel.spines[["top", "right"]].set_visible(False)
        panel.tick_params(labelsize=8)
    page.savefig(path, dpi=110)


def _height(row: Sequence[tuple[Subject, Sequence[Figure]]]) -> float:
    """Height of a row in inches: fixed for lines, growing with the number of names for dots."""
    return max([LINE_HEIGHT, *(1.0 + 0.2 * len(figures) for _, figures in row if not figures[0].series)])


def _dots(panel: Axes, figures: Sequence[Figure], unit: str) -> None:
    """Draw one row per figure, the first on top, with its median beside it."""
    for place, figure in enumerate(reversed(figures)):
        median, least, most = figure.value
        panel.plot([least, most], [place, place], color=COLOURS[0], linewidth=1.5)
        panel.plot(median, place, "o", color=COLOURS[0], markersize=5)
        panel.annotate(f"{median:.3g}", (most, place), (6, 0), textcoords="offset points", fontsize=8, va="center")
    panel.set_yticks(range(len(figures)), [figure.name for figure in reversed(figures)])
    panel.set_ylim(-0.5, len(figures) - 0.5)
    panel.set_xlabel(unit, fontsize=8, color=GREY)
    values = [1.0, *(number for figure in figures for number in figure.value)]
    panel.axvline(1, color=GREY, linewidth=0.8, linestyle=":")
    if min(values) > 0 and max(values) > LOG_FROM * min(values):
        panel.set_xscale("log")
        panel.set_xlim(min(values) / 1.5, 2.5 * max(values))
        panel.xaxis.set_major_formatter("{x:g}")
    else:
        panel.set_xlim(0, 1.15 * max(values))


def _lines(panel: Axes, figures: Sequence[Figure], unit: str) -> None:
    """Draw one line per series, with a legend."""
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
    panel.axhline(1, color=GREY, linewidth=0.8, linestyle=":")
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
    panel.set_ylabel(textwrap.fill(unit, 24), fontsize=8, color=GREY)
    panel.legend(fontsize=8, frameon=False)
