"""A sweep in pictures: what is left of the true return as oversight gets scarcer, and how it was learned."""

import io
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from flows import arms
from flows.reporting.aggregate import Cell, Curve, rank_rows, without_coinciding
from flows.tracking.certificates import Reference

COLOURS = (
    "#0b6fb8", "#d1495b", "#2a9d5c", "#8b5fbf", "#e08e00", "#14919b", "#9b5b2e",
    "#c94fa1", "#5b6470", "#7a9a01", "#2f3e9e", "#a51d2d", "#4aa3df", "#00664f",
)  # fmt: skip
MARKERS = "osD^vPX*<>ph"
INK, FAINT = "#222831", "#9aa3ad"
LABEL_GAP = 0.034  # of the axes' height: one line of text
STYLE: dict[str, Any] = {"fontsize": 9, "color": INK}
KNOWN = "known"  # marks the lines of what is known before training
DOTS: dict[str, Any] = {"color": FAINT, "linewidth": 1, "linestyle": (0, (1, 2))}
REFERENCES = {  # its name, and on which side of its line that stands
    "optimal_return": ("optimum", "bottom"),
    "enforceable_return": ("enforceable by any reward on what the overseer sees", "bottom"),
    "naive_optimum_return": ("optimum of the naive reward", "top"),
}


def oversight_figure(cells: Sequence[Cell], references: Mapping[float, Reference]) -> bytes:
    """PNG: true return against oversight, a line for each row, mean and 95 % interval over seeds.

    A deployment rule that keeps nowhere more or less than its method's first one, by `SAME`, has no line.
    """
    cells = without_coinciding(cells)
    figure = Figure(figsize=(10.5, 6.4), layout="constrained", dpi=150)
    axes = figure.subplots()
    levels = sorted({cell.oversight for cell in cells})
    lines = [[cell for cell in cells if cell.row == name] for name in rank_rows(cells)]
    logarithmic = _x_axis(axes, levels)
    if references:
        _references(axes, references)
    ends = []
    shades = row_colours([line[0].row for line in lines])
    for place, (line, colour) in enumerate(zip(lines, shades, strict=True)):
        x = _beside(np.array([cell.oversight for cell in line]), place, len(lines), logarithmic)
        _draw_line(axes, x, line, _look(place, colour, line[0]))
        ends.append((float(x[-1]), line[-1]))
    _zoom(axes, [cell.true_return.mean for cell in cells])
    axes.set_ylabel("true return per episode, discounted", **STYLE)
    _name_lines(axes, ends)
    return _png(figure)


def curves_figure(curves: Mapping[tuple[str, float], Curve], references: Mapping[float, Reference]) -> bytes:
    """PNG: a panel for each method, a line for each oversight level, mean and 95 % band over seeds."""
    methods = list(dict.fromkeys(method for method, _ in curves))
    levels = sorted({level for _, level in curves})
    columns = min(4, max(1, len(methods)))
    lines = math.ceil(len(methods) / columns)
    figure = Figure(figsize=(0.6 + 2.9 * columns, 0.9 + 2.3 * lines), layout="constrained", dpi=150)
    panels = list(figure.subplots(lines, columns, sharex=True, sharey=True, squeeze=False).flat)
    for axes, method in zip(panels, methods, strict=False):
        _panel(axes, method, {level: curves[method, level] for level in levels if (method, level) in curves})
        _optimum(axes, references)
    _zoom(panels[0], np.concatenate([curve.mean for curve in curves.values()]))
    for axes in panels[len(methods) :]:
        axes.set_visible(False)
    _legend(figure, levels)
    figure.supxlabel("environment steps", **STYLE)
    figure.supylabel("true return, as deployed", **STYLE)
    return _png(figure)


def spread_labels(positions: Sequence[float], gap: float) -> list[float]:
    """The nearest positions, by squares, in the same order, `gap` apart (pool adjacent violators)."""
    order = np.argsort(positions, kind="stable")
    blocks: list[tuple[float, int]] = []  # (mean, size) of positions less the room that those before them need
    for rank, index in enumerate(order):
        blocks.append((positions[index] - rank * gap, 1))
        while len(blocks) > 1 and blocks[-2][0] > blocks[-1][0]:
            (a, m), (b, n) = blocks[-2:]
            blocks[-2:] = [((a * m + b * n) / (m + n), m + n)]
    flat = [mean for mean, size in blocks for _ in range(size)]
    placed = [0.0] * len(flat)
    for rank, index in enumerate(order):
        placed[index] = flat[rank] + rank * gap
    return placed


def _x_axis(axes: Axes, levels: Sequence[float]) -> bool:
    logarithmic = levels[0] > 0 and levels[-1] / levels[0] >= 4
    axes.set_xscale("log" if logarithmic else "linear")
    axes.xaxis.set_major_locator(FixedLocator(list(levels)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.set_xlabel("oversight: probability that the overseer sees how an episode ends", **STYLE)
    _plain(axes)
    return logarithmic


def _beside(x: np.ndarray, place: int, of: int, logarithmic: bool) -> np.ndarray:
    """The place of `x` at which the intervals of `of` lines stand beside each other."""
    share = (place - (of - 1) / 2) / max(of, 12)
    return x * (1 + 0.12 * share) if logarithmic else x + 0.03 * (np.ptp(x) or 0.1) * share


def row_colours(names: Sequence[str]) -> list[str]:
    """A colour for each row name: all rows of one method have the same."""
    methods = [name.partition("/")[0].partition(arms.MARK)[0] for name in names]
    place = {method: i for i, method in enumerate(dict.fromkeys(methods))}
    return [COLOURS[place[method] % len(COLOURS)] for method in methods]


def _look(place: int, colour: str, cell: Cell) -> dict[str, Any]:
    """Dashed: in a world with another argument; hollow: leaky."""
    look = {
        "color": colour,
        "marker": MARKERS[place % len(MARKERS)],
        "markerfacecolor": colour,
        "linestyle": (0, (5, 2)) if arms.MARK in cell.row else "-",
    }
    return look | {"markerfacecolor": "white", "linestyle": (0, (2, 1))} if cell.leaky else look


def _draw_line(axes: Axes, x: np.ndarray, cells: Sequence[Cell], look: dict[str, Any]) -> None:
    means = [cell.true_return.mean for cell in cells]
    halves = np.nan_to_num([cell.true_return.half for cell in cells])  # one seed: no interval
    axes.errorbar(x, means, yerr=halves, markersize=6, linewidth=1.7, elinewidth=1, capsize=2.5, zorder=3, **look)


def _name_lines(axes: Axes, ends: Sequence[tuple[float, Cell]]) -> None:
    """Each name at the right end of its line; where ends are close, apart and with a thread to its line."""
    low, high = axes.get_ylim()
    heights = [(cell.true_return.mean - low) / (high - low) for _, cell in ends]
    shades = row_colours([cell.row for _, cell in ends])
    for (x, cell), height, colour in zip(ends, spread_labels(heights, LABEL_GAP), shades, strict=True):
        axes.annotate(
            f"{cell.row} (leaky)" if cell.leaky else cell.row,
            xy=(x, cell.true_return.mean),
            xytext=(1.03, height),
            textcoords="axes fraction",
            color=colour,
            fontsize=9,
            va="center",
            parse_math=False,
            arrowprops={
                "arrowstyle": "-",
                "color": colour,
                "linewidth": 0.6,
                "alpha": 0.5,
                "shrinkB": 4,
                "relpos": (0, 0.5),
            },
        )


def _zoom(axes: Axes, means: Sequence[float] | np.ndarray) -> None:
    """Wide intervals of few seeds are cut off rather than that they flatten the lines; reference lines are seen."""
    values = [
        *means,
        *(y for line in axes.get_lines() if line.get_gid() == KNOWN for y in np.asarray(line.get_ydata())),
    ]
    room = 0.3 * (max(values) - min(values) or 1.0)
    low, high = axes.get_ylim()
    axes.set_ylim(max(low, min(values) - room), min(high, max(values) + room))


def _references(axes: Axes, references: Mapping[float, Reference]) -> None:
    """What is known before training, over the oversight levels; each line is named at its left end."""
    levels = list(references)
    for name, (label, side) in REFERENCES.items():
        values = [getattr(known, name) for known in references.values()]
        axes.plot(levels, values, marker="_" if len(levels) == 1 else "", zorder=1, gid=KNOWN, **DOTS)
        place: dict[str, Any] = {
            "xytext": (2, 3 if side == "bottom" else -3),
            "textcoords": "offset points",
            "va": side,
        }
        paper = {"facecolor": "white", "alpha": 0.8, "linewidth": 0, "pad": 0.6}
        axes.annotate(label, (levels[0], values[0]), fontsize=8, color="#5b6470", bbox=paper, zorder=4, **place)


def _optimum(axes: Axes, references: Mapping[float, Reference]) -> None:
    for known in list(references.values())[:1]:
        axes.axhline(known.optimal_return, zorder=1, gid=KNOWN, **DOTS)


def _panel(axes: Axes, method: str, curves: Mapping[float, Curve]) -> None:
    _plain(axes)
    axes.set_title(method, loc="left", fontsize=9, color=INK, parse_math=False)
    for (level, curve), colour in zip(curves.items(), _shades(len(curves)), strict=True):
        axes.plot(curve.step, curve.mean, color=colour, linewidth=1.4, label=f"{level:g}")
        axes.fill_between(curve.step, curve.mean - curve.half, curve.mean + curve.half, color=colour, alpha=0.18, lw=0)
    axes.xaxis.set_major_formatter(FuncFormatter(_thousands))
    axes.locator_params(axis="x", nbins=4)


def _legend(figure: Figure, levels: Sequence[float]) -> None:
    from matplotlib.lines import Line2D

    handles = [Line2D([], [], color=colour, linewidth=2) for colour in _shades(len(levels))]
    figure.legend(
        handles,
        [f"{level:g}" for level in levels],
        title="oversight",
        loc="outside upper right",
        ncols=len(levels),
        frameon=False,
        fontsize=9,
        title_fontsize=9,
        alignment="right",
    )


def _shades(count: int) -> list[Any]:
    """Light for scarce oversight, dark for plenty."""
    return [colormaps["viridis_r"](0.15 + 0.8 * place / max(1, count - 1)) for place in range(count)]


def _thousands(value: float, _: object = None) -> str:
    for size, letter in ((1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:g} {letter}"
    return f"{value:g}"


def _plain(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(FAINT)
    axes.tick_params(labelcolor=INK, labelsize=8.5, color=FAINT)
    axes.grid(axis="y", color="#eceff2", linewidth=0.8)
    axes.set_axisbelow(True)


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", facecolor="white")
    return buffer.getvalue()
