"""Pictures of one run: how it learned, and what it does in every cell of a grid."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from agents import BlockPolicy, action_probabilities

CURVES: dict[str, tuple[str, dict[str, Any]]] = {  # metric: (label, style)
    "eval/true_return": ("true return, as deployed", {"color": "C0", "linewidth": 2.5}),
    "eval/true_return/unseen": ("the same, where nothing is watched", {"color": "C0", "linestyle": ":"}),
    "eval/true_return/seen": ("the same, where something is", {"color": "C0", "linestyle": "--"}),
    "eval/true_return/whole": ("true return, whole policy", {"color": "C1"}),
    "eval/proxy_return": ("proxy return, as deployed", {"color": "0.5"}),
}
VARIANTS = {  # what acts: (scales, ablated blocks)
    "whole": (None, ()),
    "retain alone": ((1.0, 0.0), ()),
    "forget alone": ((0.0, 1.0), ()),
}
GAP = 0.3  # between grids, in cells
FAST = {"compress_level": 3}  # of a PNG: as small as 6, in two thirds of the time


def learning_curve_figure(curve: Sequence[tuple[int, dict[str, float]]], title: str, path: Path) -> None:
    """Draw the evaluations along a run.

    Args:
        curve: (steps, metrics) of each checkpoint.
        path: of the PNG.
    """
    figure = Figure(figsize=(7, 4))
    axes = figure.subplots()
    steps = [step for step, _ in curve]
    for name, (label, style) in CURVES.items():
        axes.plot(steps, [metrics.get(name, np.nan) for _, metrics in curve], label=label, **style)
    axes.axhline(0, color="0.8", linewidth=1, zorder=0)
    axes.set(title=title, xlabel="environment steps", ylabel="discounted return per episode")
    axes.legend(frameon=False, fontsize="small")
    figure.savefig(path, dpi=120, pil_kwargs=FAST)


def policy_figure(policy: BlockPolicy, world, title: str, path: Path, starts: int = 4) -> bool:
    """Draw, for some starts, what the policy does in every cell: whole, and each expert alone.

    Arrows have the length of the action's probability; the background is the gate's value; the letter of a square
    under the overseer's eye is framed.

    Args:
        world: the environment; without a grid `layout` nothing is drawn.
        path: of the PNG.
        starts: how many start states, drawn with one seed for all runs.

    Returns:
        Whether there was a grid to draw.
    """
    states = start_states(world, starts)
    if world.action_arrows is None or world.layout(states[0]) is None:
        return False
    layouts = np.stack([world.layout(state) for state in states])
    height, width = layouts.shape[1:3]
    size = (2.6 * starts + 1, 2.6 * len(VARIANTS) * height / width + 1)
    figure = Figure(figsize=size)  # one pair of axes for all grids: making a pair takes longer than drawing in it
    figure.suptitle(f"{title}\narrows: action probabilities; framed: watched by the overseer")
    axes = figure.add_axes((0.03, 0.02, 0.97 - 1 / size[0], 0.98 - 0.7 / size[1]))
    bar = figure.add_axes((1 - 0.85 / size[0], 0.25, 0.2 / size[0], 0.5))
    gate, probabilities = evaluate_policy(policy, world, layouts)
    figure.colorbar(draw_grids(axes, gate), cax=bar, label="gate: weight of the retain expert")
    draw_arrows(axes, world, layouts, probabilities)
    for place, state in enumerate(states):
        mark_things(axes, world.picture(state), place)
    figure.savefig(path, dpi=110, pil_kwargs=FAST)
    return True


def start_states(world, count: int) -> np.ndarray:
    """(count, K) start states: watched ones first, as far as there are, then unwatched ones."""
    generator, world.np_random = world.np_random, np.random.default_rng(0)
    states = world.initial(4096)
    world.np_random = generator
    watched = world.watched(states)
    half = min(count // 2, int(watched.sum()))
    rest = states[~watched] if not watched.all() else states
    return np.concatenate([states[watched][:half], rest[: count - half]])


def evaluate_policy(policy: BlockPolicy, world, layouts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What the policy says in every cell of grids (G, H, W, K): gate (G, H, W), action probabilities (V, G, H, W, A).

    Where there is no cell, nan and 0.
    """
    real = (layouts >= 0).all(-1)
    observations = torch.as_tensor(world.observation(layouts[real]), device=policy.device)
    gate = np.full(real.shape, np.nan)
    with torch.no_grad():
        gate[real] = policy.gate_values(observations).cpu().numpy()
    probabilities = np.zeros((len(VARIANTS), *real.shape, len(world.action_arrows)))
    for found, use in zip(probabilities, VARIANTS.values(), strict=True):
        with policy.deployed(*use):
            found[real] = action_probabilities(policy, observations).cpu().numpy()
    return gate, probabilities


def draw_grids(axes: Axes, gate: np.ndarray) -> QuadMesh:
    """A row of grids for each variant, the gate's values (G, H, W) as their background, in units of cells."""
    count, height, width = gate.shape
    rows, columns = (
        (np.arange(n)[:, None] * (side + GAP) + np.arange(side + 1) - 0.5).ravel()
        for n, side in ((len(VARIANTS), height), (count, width))
    )
    spaced = np.pad(gate, ((0, 0), (0, 1), (0, 1)), constant_values=np.nan)
    values = np.tile(np.concatenate(spaced, axis=1), (len(VARIANTS), 1))[:-1, :-1]
    for row, name in enumerate(VARIANTS):
        axes.text(-0.6, row * (height + GAP) + (height - 1) / 2, name, rotation=90, ha="right", va="center")
        for column in range(count):
            corner = column * (width + GAP) - 0.5, row * (height + GAP) - 0.5
            axes.add_patch(Rectangle(corner, width, height, fill=False, linewidth=0.8, zorder=2))
    axes.set(xlim=(-0.6, columns[-1] + 0.1), ylim=(rows[-1] + 0.1, -0.6), aspect="equal")
    axes.set_axis_off()
    return axes.pcolormesh(columns, rows, values, vmin=0, vmax=1, cmap="PuOr", alpha=0.6)


def draw_arrows(axes: Axes, world, layouts: np.ndarray, probabilities: np.ndarray) -> None:
    """In each cell that is acted in, an arrow for each action."""
    height, width, variables = layouts.shape[1:]
    ends = world.terminal(np.maximum(layouts, 0).reshape(-1, variables)).reshape(layouts.shape[:-1])
    place, row, column = np.nonzero((layouts >= 0).all(-1) & ~ends)
    shown = probabilities[:, place, row, column]  # (V, n, A)
    down, right = 0.48 * np.array(world.action_arrows).T[:, None, None] * shown
    y = (np.arange(len(VARIANTS))[:, None] * (height + GAP) + row)[..., None]
    x = (place * (width + GAP) + column)[:, None]
    arrow = {"angles": "xy", "scale_units": "xy", "scale": 1, "units": "x", "width": 0.012 * width, "headwidth": 4}
    axes.quiver(*(part.ravel() for part in np.broadcast_arrays(x, y, right, down)), **arrow)


def mark_things(axes: Axes, picture, place: int) -> None:
    """Name what stands in a start's grids by its letter; a square under the overseer's eye is framed."""
    height, width = picture.glyphs.shape
    for (row, column), glyph in np.ndenumerate(picture.glyphs):
        frame = {"facecolor": "white", "edgecolor": "black", "pad": 2} if picture.watched[row, column] else None
        if glyph.isalpha() and glyph != "A":
            for variant in range(len(VARIANTS)):
                at = place * (width + GAP) + column, variant * (height + GAP) + row
                axes.text(*at, glyph, ha="center", va="center", fontweight="bold", bbox=frame)
