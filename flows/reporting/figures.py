"""Figures of a sweep: true return against its axis, learning curves, and predictions beside measured values."""

import io
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import TickedStroke
from matplotlib.ticker import FuncFormatter, NullLocator

from flows import arms
from flows.axis import OVERSIGHT, Level
from flows.reporting.aggregate import Cell, Curve, rank_rows, without_coinciding
from flows.reporting.predictions import ENFORCEABLE, LOWER_BOUND, NAIVE, OPTIMUM, Line, PredictedWorld
from flows.tracking.certificates import Reference

COLOURS = (
    "#0b6fb8", "#d1495b", "#2a9d5c", "#8b5fbf", "#e08e00", "#14919b", "#9b5b2e",
    "#c94fa1", "#5b6470", "#7a9a01", "#2f3e9e", "#a51d2d", "#4aa3df", "#00664f",
)  # fmt: skip
MARKERS = "osD^vPX*<>ph"
INK, FAINT = "#222831", "#9aa3ad"
HATCH = "//////"  # of what belongs to leaky rows
LABEL_GAP = 0.034  # height of a text line as a fraction of the axes
STYLE: dict[str, Any] = {"fontsize": 9, "color": INK}
REFERENCE_LINE = "reference"  # group id of the lines of returns known before training
DOTS: dict[str, Any] = {"color": FAINT, "linewidth": 1, "linestyle": (0, (1, 2))}
LINES: tuple[Any, ...] = (  # of the rows that share a colour, in order
    "-", (0, (5, 2)), (0, (4, 1, 1, 1)), (0, (1.5, 1)), (0, (8, 2, 1, 2)), (0, (3, 1, 1, 1, 1, 1)), (0, (8, 3)),
)  # fmt: skip
REFERENCES = {"optimal_return": "optimum", "enforceable": "enforceable return", "naive_optimum": "naive optimum"}
REFERENCE_LABEL = "#767d86"
OVERSIGHT_MEANING = ": probability that the overseer sees how an episode ends, or audits it"
MOST_BANDS = 8  # lines of a panel: the bands of more would hide each other
TEXT_HEIGHT = 0.19  # inches between two labels
LETTER_WIDTH = 0.08  # inches of a letter of a label
LONGEST_TICK = 24  # characters of a level below the x axis and in a legend


class LineEnd(NamedTuple):
    """The right end of a line, and its label."""

    x: float
    y: float
    label: str
    colour: str


def oversight_figure(cells: Sequence[Cell], references: Mapping[Level, Reference]) -> bytes:
    """Draw true return against the level as a PNG: a line for each row, mean and 95 % interval over seeds.

    Levels that are numbers are placed by value, others at equal distances. Lines and markers of leaky rows are hatched.
    A row that coincides with its method's first deployment rule, within `COINCIDENCE`, is not drawn.
    """
    cells = without_coinciding(cells)
    levels = sorted({cell.level for cell in cells})
    labelled = len({cell.row for cell in cells}) + len(REFERENCES) * bool(references)
    height = max(6.4, 1.0 + TEXT_HEIGHT * labelled)
    width = width_with_labels(10.5, [cell.row for cell in cells])
    figure = Figure(figsize=(width, height), layout="constrained", dpi=150)
    axes = figure.subplots()
    lines = [[cell for cell in cells if cell.row == name] for name in rank_rows(cells)]
    logarithmic = _x_axis(axes, levels)
    ends = _references(axes, references) if references else []
    colours, linestyles = row_styles([line[0].row for line in lines])
    for index, (line, colour, linestyle) in enumerate(zip(lines, colours, linestyles, strict=True)):
        x = _dodge([cell.level for cell in line], index, len(lines), logarithmic)
        leaky = line[0].leaky
        style = {"color": colour, "linestyle": linestyle, "marker": MARKERS[index % len(MARKERS)]}
        (_draw_leaky_line if leaky else _draw_line)(axes, x, line, style)
        name = f"{line[0].row} (leaky)" if leaky else line[0].row
        ends.append(LineEnd(float(x[-1]), line[-1].true_return.mean, name, colour))
    fit_to_means(axes, [cell.true_return.mean for cell in cells])
    axes.set_ylabel("true return per episode, discounted", **STYLE)
    label_lines(axes, ends, min(LABEL_GAP, TEXT_HEIGHT / (height - 1.0)))
    return png_bytes(figure)


def width_with_labels(width: float, labels: Iterable[str]) -> float:
    """Return the width of a figure in inches: `width`, or more if its labels would leave little of it to the axes."""
    return max(width, 5.5 + LETTER_WIDTH * max(map(len, labels), default=0))


def curves_figure(curves: Mapping[tuple[str, Level], Curve], references: Mapping[Level, Reference]) -> bytes:
    """Draw learning curves as a PNG: a panel for each method, a line for each level, mean and 95 % band over seeds.

    Lines and bands of leaky methods are hatched.
    """
    methods = list(dict.fromkeys(method for method, _ in curves))
    levels = sorted({level for _, level in curves})
    colours = dict(zip(levels, _shades(len(levels)), strict=True))
    columns = min(4, max(1, len(methods)))
    lines = math.ceil(len(methods) / columns)
    figure = Figure(figsize=(0.6 + 2.9 * columns, 0.9 + 2.3 * lines), layout="constrained", dpi=150)
    panels = list(figure.subplots(lines, columns, sharex=True, sharey=True, squeeze=False).flat)
    for axes, method in zip(panels, methods, strict=False):
        _panel(axes, method, {level: curves[method, level] for level in levels if (method, level) in curves}, colours)
        _optima(axes, references, colours)
    fit_to_means(panels[0], np.concatenate([curve.mean for curve in curves.values()]))
    for axes in panels[len(methods) :]:
        axes.set_visible(False)
    _legend(figure, colours)
    figure.supxlabel("environment steps", **STYLE)
    figure.supylabel("true return of the deployed policy", **STYLE)
    return png_bytes(figure)


def predictions_figure(settings: Sequence[PredictedWorld]) -> bytes:
    """Draw predictions and measured values as a PNG: a panel of returns and one of rates of outcomes for each setting.

    Predictions are vertical lines, arms are markers with 95 % intervals.
    """
    heights = [max(2, max(_count(setting, rates) for rates in (False, True))) for setting in settings]
    figure = Figure(figsize=(10.5, 0.8 + sum(0.55 + 0.45 * n for n in heights)), layout="constrained", dpi=110)
    panels = figure.subplots(len(settings), 2, squeeze=False, height_ratios=heights)
    names = list(dict.fromkeys(arm for setting in settings for arm in setting.arms))
    colours = dict(zip(names, COLOURS, strict=False))
    for setting, (returns, rates) in zip(settings, panels, strict=True):
        for axes, is_rate in ((returns, False), (rates, True)):
            _predicted_panel(axes, [line for line in setting.lines if line.is_rate == is_rate], names, colours)
        returns.set_title(setting.title, loc="left", fontsize=9, color=INK, parse_math=False)
        rates.set_xlim(-0.05, 1.05)
    panels[-1, 0].set_xlabel("return per episode, discounted", **STYLE)
    panels[-1, 1].set_xlabel("share of episodes that end so", **STYLE)
    _predictions_legend(figure, settings, colours)
    return png_bytes(figure)


PREDICTION_LINES: dict[str, dict[str, Any]] = {
    OPTIMUM: {"color": "#222831", "linestyle": "-"},
    ENFORCEABLE: {"color": "#767d86", "linestyle": (0, (1, 1.5))},
    LOWER_BOUND: {"color": "#767d86", "linestyle": (0, (1, 1.5))},
    NAIVE: {"color": "#e08e00", "linestyle": (0, (4, 2))},
}


def _count(setting: PredictedWorld, rates: bool) -> int:
    return sum(line.is_rate == rates for line in setting.lines)


def _predicted_panel(axes: Axes, lines: Sequence[Line], names: Sequence[str], colours: Mapping[str, str]) -> None:
    plain_axes(axes)
    axes.grid(axis="y", visible=False)
    axes.grid(axis="x", color="#eceff2", linewidth=0.8)
    axes.set_yticks(range(len(lines)), [line.quantity for line in lines])
    axes.set_ylim(len(lines) - 0.45, -0.55)
    for y, line in enumerate(lines):
        for name, value in line.predicted.items():
            axes.plot([value, value], [y - 0.4, y + 0.4], linewidth=1.6, zorder=2, **PREDICTION_LINES[name])
        for arm, found in line.measured.items():
            index = names.index(arm)
            at = y + 0.6 * ((index + 0.5) / len(names) - 0.5)
            style: dict[str, Any] = {
                "color": colours.get(arm, INK),
                "marker": MARKERS[index % len(MARKERS)],
                "linestyle": "",
            }
            half = np.nan_to_num(found.half)  # one seed: no interval
            axes.errorbar([found.mean], [at], xerr=[half], markersize=5, elinewidth=1.2, capsize=2.5, zorder=3, **style)


def _predictions_legend(figure: Figure, settings: Sequence[PredictedWorld], colours: Mapping[str, str]) -> None:
    from matplotlib.lines import Line2D

    known = list(dict.fromkeys(name for setting in settings for name in setting.predictions))
    handles = [Line2D([], [], linewidth=1.6, **PREDICTION_LINES[name]) for name in known]
    handles += [
        Line2D([], [], color=colour, marker=MARKERS[index % len(MARKERS)], linestyle="")
        for index, colour in enumerate(colours.values())
    ]
    labels = [*(f"{name}, predicted" for name in known), *(f"{arm}, trained" for arm in colours)]
    figure.legend(handles, labels, loc="outside upper center", ncols=4, frameon=False, fontsize=9)


def spread_labels(
    positions: Sequence[float], gap: float, low: float = -math.inf, high: float = math.inf
) -> list[float]:
    """Return the least-squares closest positions, in the same order and `gap` apart (pool adjacent violators).

    Args:
        positions: where the labels would be.
        gap: least distance of two of them.
        low: least position.
        high: greatest position; both limits have no effect if there is no room between them.
    """
    order = np.argsort(positions, kind="stable")
    blocks: list[tuple[float, int]] = []  # (mean, size) of positions minus rank * gap
    for rank, index in enumerate(order):
        blocks.append((positions[index] - rank * gap, 1))
        while len(blocks) > 1 and blocks[-2][0] > blocks[-1][0]:
            (a, m), (b, n) = blocks[-2:]
            blocks[-2:] = [((a * m + b * n) / (m + n), m + n)]
    room = high - (len(positions) - 1) * gap
    limits = (low, room) if low <= room else (-math.inf, math.inf)
    flat = [min(max(mean, limits[0]), limits[1]) for mean, size in blocks for _ in range(size)]
    placed = [0.0] * len(flat)
    for rank, index in enumerate(order):
        placed[index] = flat[rank] + rank * gap
    return placed


def _x_axis(axes: Axes, levels: Sequence[Level]) -> bool:
    """Mark the levels on the x axis; return whether it is logarithmic."""
    first, last = levels[0], levels[-1]
    logarithmic = first.numeric and first.position > 0 and last.position / first.position >= 4
    axes.set_xscale("log" if logarithmic else "linear")
    axes.set_xticks(
        [level.position for level in levels], [_shortened(level.text) for level in levels], parse_math=False
    )
    axes.xaxis.set_minor_locator(NullLocator())
    if not first.numeric:
        axes.set_xlim(first.position - 0.5, last.position + 0.5)
    meaning = OVERSIGHT_MEANING if first.axis == OVERSIGHT else ""
    axes.set_xlabel(first.axis + meaning, parse_math=False, **STYLE)
    plain_axes(axes)
    return logarithmic


def _shortened(text: str) -> str:
    """Return the text of a level, cut to the room below the x axis."""
    return text if len(text) <= LONGEST_TICK else text[: LONGEST_TICK - 1] + "…"


def _dodge(levels: Sequence[Level], index: int, count: int, logarithmic: bool) -> np.ndarray:
    """Return the positions of levels, shifted so that the error bars of `count` lines do not overlap."""
    x = np.array([level.position for level in levels])
    shift = (index - (count - 1) / 2) / max(count, 12)
    if not levels[0].numeric:
        return x + 0.3 * shift  # of levels at distance 1
    return x * (1 + 0.12 * shift) if logarithmic else x + 0.03 * (np.ptp(x) or 0.1) * shift


def row_styles(names: Sequence[str]) -> tuple[list[str], list[Any]]:
    """Return a colour and a line style for each row name.

    Rows of one method share a colour, and no two rows with the same colour share a line style, up to seven of them.
    """
    methods = list(map(arms.base_method, names))
    index = {method: i for i, method in enumerate(dict.fromkeys(methods))}
    colours = [COLOURS[index[method] % len(COLOURS)] for method in methods]
    linestyles: list[Any] = [None] * len(names)
    used: Counter[str] = Counter()
    for row in sorted(range(len(names)), key=lambda row: names[row] != methods[row]):  # solid for the method itself
        linestyles[row] = LINES[used[colours[row]] % len(LINES)]
        used[colours[row]] += 1
    return colours, linestyles


def _draw_line(axes: Axes, x: np.ndarray, cells: Sequence[Cell], style: dict[str, Any]) -> None:
    means = [cell.true_return.mean for cell in cells]
    halves = np.nan_to_num([cell.true_return.half for cell in cells])  # one seed: no interval
    shape = {"markersize": 6, "linewidth": 1.7, "elinewidth": 1, "capsize": 2.5, "zorder": 3}
    axes.errorbar(x, means, yerr=halves, **{**shape, **style})


def _draw_leaky_line(axes: Axes, x: np.ndarray, cells: Sequence[Cell], style: dict[str, Any]) -> None:
    """As `_draw_line`, with hatched line and markers."""
    _draw_line(axes, x, cells, {**style, "linestyle": "-", "marker": "", "linewidth": 0.7})
    colour, means = style["color"], [cell.true_return.mean for cell in cells]
    axes.plot(x, means, color=colour, linewidth=0.7, path_effects=[TickedStroke(spacing=5, length=0.6)], zorder=3)
    axes.scatter(x, means, s=85, marker=style["marker"], facecolor="white", edgecolor=colour, hatch=HATCH, zorder=4)


def label_lines(axes: Axes, ends: Sequence[LineEnd], gap: float = LABEL_GAP, left: float = 1.03) -> None:
    """Label each line right of the axes; labels of close ends are spread and connected to their lines.

    Args:
        axes: with the lines.
        ends: the points that are labelled.
        gap: least distance of two labels, as a fraction of the axes' height.
        left: where the labels start, as a fraction of the axes' width.
    """
    low, high = axes.get_ylim()
    heights = [(end.y - low) / (high - low) for end in ends]
    for end, height in zip(ends, spread_labels(heights, gap, 0, 1), strict=True):
        axes.annotate(
            end.label,
            xy=(end.x, end.y),
            xytext=(left, height),
            textcoords="axes fraction",
            color=end.colour,
            fontsize=9,
            style="italic" if end.colour == REFERENCE_LABEL else "normal",
            va="center",
            parse_math=False,
            arrowprops={
                "arrowstyle": "-",
                "color": end.colour,
                "linewidth": 0.6,
                "alpha": 0.5,
                "shrinkB": 4,
                "relpos": (0, 0.5),
            },
        )


def fit_to_means(axes: Axes, means: Sequence[float] | np.ndarray) -> None:
    """Fit the y-axis to means and reference lines; wide intervals of few seeds are clipped."""
    values = [
        *means,
        *(y for line in axes.get_lines() if line.get_gid() == REFERENCE_LINE for y in np.asarray(line.get_ydata())),
    ]
    margin = 0.3 * (max(values) - min(values) or 1.0)
    low, high = axes.get_ylim()
    axes.set_ylim(max(low, min(values) - margin), min(high, max(values) + margin))


def _references(axes: Axes, references: Mapping[Level, Reference]) -> list[LineEnd]:
    """Draw the returns known before training over the levels; return the ends of the lines."""
    levels = [level.position for level in references]
    steps = "default" if all(level.numeric for level in references) else "steps-mid"
    ends = []
    for name, label in REFERENCES.items():
        values = [getattr(known, name) for known in references.values()]
        axes.plot(
            levels,
            values,
            marker="_" if len(levels) == 1 else "",
            zorder=1,
            gid=REFERENCE_LINE,
            drawstyle=steps,
            **DOTS,
        )
        ends.append(LineEnd(levels[-1], values[-1], label, REFERENCE_LABEL))
    return ends


def _optima(axes: Axes, references: Mapping[Level, Reference], colours: Mapping[Level, Any]) -> None:
    """Draw the optimum of each level in its colour, or of oversight levels, which share it, the first in grey."""
    for index, (level, known) in enumerate(references.items()):
        if level.axis != OVERSIGHT or not index:
            colour = {"color": colours[level]} if level.axis != OVERSIGHT and level in colours else {}
            axes.axhline(known.optimal_return, zorder=1, gid=REFERENCE_LINE, **{**DOTS, **colour})


def _panel(axes: Axes, method: str, curves: Mapping[Level, Curve], colours: Mapping[Level, Any]) -> None:
    plain_axes(axes)
    leaky = any(curve.leaky for curve in curves.values())
    axes.set_title(f"{method} (leaky)" if leaky else method, loc="left", fontsize=9, color=INK, parse_math=False)
    for level, curve in curves.items():
        colour = colours[level]
        axes.plot(curve.step, curve.mean, color=colour, linewidth=0.7 if curve.leaky else 1.4, label=level.text)
        low, high = curve.mean - curve.half, curve.mean + curve.half
        axes.fill_between(curve.step, low, high, color=colour, alpha=0.18, lw=0)
        if curve.leaky:
            effects = [TickedStroke(spacing=5, length=0.6)]
            axes.plot(curve.step, curve.mean, color=colour, linewidth=0.7, path_effects=effects)
            axes.fill_between(curve.step, low, high, facecolor="none", edgecolor=colour, hatch=HATCH, lw=0, alpha=0.5)
    axes.xaxis.set_major_formatter(FuncFormatter(_thousands))
    axes.locator_params(axis="x", nbins=4)


def _legend(figure: Figure, colours: Mapping[Level, Any]) -> None:
    from matplotlib.lines import Line2D

    levels = list(colours)
    handles = [Line2D([], [], color=colour, linewidth=2) for colour in colours.values()]
    legend = figure.legend(
        handles,
        [_shortened(level.text) for level in levels],
        title=levels[0].axis,
        loc="outside upper right",
        ncols=len(levels),
        frameon=False,
        fontsize=9,
        title_fontsize=9,
        alignment="right",
    )
    for text in legend.get_texts():
        text.set_parse_math(False)


def _shades(count: int) -> list[Any]:
    """Return a colour for each level: light for low levels, dark for high ones."""
    return [colormaps["viridis_r"](0.15 + 0.8 * index / max(1, count - 1)) for index in range(count)]


def _thousands(value: float, _: object = None) -> str:
    for unit, letter in ((1e6, "M"), (1e3, "k")):
        if abs(value) >= unit:
            return f"{value / unit:g} {letter}"
    return f"{value:g}"


def draw_curve(axes: Axes, curve: Curve, colour: str, linestyle: Any, band: bool) -> None:
    """Draw the mean of a curve, and its 95 % interval as a band if there is room for it."""
    axes.plot(curve.step, curve.mean, color=colour, linestyle=linestyle, linewidth=1.5, zorder=3)
    if band:
        half = np.nan_to_num(curve.half)  # one seed: no interval
        axes.fill_between(curve.step, curve.mean - half, curve.mean + half, color=colour, alpha=0.13, lw=0)


def plain_axes(axes: Axes) -> None:
    """Style axes: no upper and right spine, a light horizontal grid."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(FAINT)
    axes.tick_params(labelcolor=INK, labelsize=8.5, color=FAINT)
    axes.grid(axis="y", color="#eceff2", linewidth=0.8)
    axes.set_axisbelow(True)


def png_bytes(figure: Figure) -> bytes:
    """Return a figure as PNG."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", facecolor="white")
    return buffer.getvalue()
