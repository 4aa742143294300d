"""Pictures of one run: how it learned, and what it does in every cell of a grid."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

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


def learning_curve(curve: Sequence[tuple[int, dict[str, float]]], title: str, path: Path) -> None:
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
    figure.savefig(path, dpi=120)


def policy_picture(policy: BlockPolicy, world, title: str, path: Path, starts: int = 4) -> bool:
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
    layout = world.layout(states[0])
    if world.action_arrows is None or layout is None:
        return False
    height, width = layout.shape[:2]
    size = (2.6 * starts + 1, 2.6 * len(VARIANTS) * height / width + 1)
    figure = Figure(figsize=size)  # laid out by hand: constrained layout takes longer than the drawing
    figure.subplots_adjust(0.03, 0.02, 1 - 1 / size[0], 1 - 0.7 / size[1], wspace=0.05, hspace=0.05)
    bar = figure.add_axes((1 - 0.85 / size[0], 0.25, 0.2 / size[0], 0.5))
    figure.suptitle(f"{title}\narrows: action probabilities; framed: watched by the overseer")
    rows = figure.subplots(len(VARIANTS), starts, squeeze=False)
    for axes_row, (name, (scales, without)) in zip(rows, VARIANTS.items(), strict=True):
        axes_row[0].set_ylabel(name)
        with policy.deployed(scales, without):
            for axes, state in zip(axes_row, states, strict=True):
                draw_grid(axes, policy, world, state)
    figure.colorbar(rows[0, 0].images[0], cax=bar, label="gate: weight of the retain expert")
    figure.savefig(path, dpi=110)
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


def draw_grid(axes: Axes, policy: BlockPolicy, world, state: np.ndarray) -> None:
    """One grid: the gate behind, arrows in each cell, and the world's own marks."""
    layout = world.layout(state)  # (H, W, K)
    height, width, variables = layout.shape
    cells = layout.reshape(-1, variables)
    real = (cells >= 0).all(-1)
    gate, probabilities = np.full(len(cells), np.nan), np.zeros((len(cells), len(world.action_arrows)))
    observations = torch.as_tensor(world.observation(cells[real]))
    probabilities[real] = action_probabilities(policy, observations).numpy()
    with torch.no_grad():
        gate[real] = policy.gate_values(observations).numpy()
    axes.imshow(gate.reshape(height, width), vmin=0, vmax=1, cmap="PuOr", alpha=0.6)
    rows, columns = np.divmod(np.flatnonzero(real & ~world.terminal(np.maximum(cells, 0))), width)
    down, right = 0.48 * np.array(world.action_arrows).T[:, :, None] * probabilities[rows * width + columns].T
    columns, rows = (np.broadcast_to(at, right.shape) for at in (columns, rows))  # (A, cells), as down and right
    axes.quiver(columns, rows, right, down, angles="xy", scale_units="xy", scale=1, width=0.012, headwidth=4)
    mark_things(axes, world.picture(state))
    axes.set(xticks=[], yticks=[])


def mark_things(axes: Axes, picture) -> None:
    """Name what stands in the grid by its letter; a square under the overseer's eye is framed."""
    for (row, column), glyph in np.ndenumerate(picture.glyphs):
        frame = {"facecolor": "white", "edgecolor": "black", "pad": 2} if picture.watched[row, column] else None
        if glyph.isalpha() and glyph != "A":
            axes.text(column, row, glyph, ha="center", va="center", fontweight="bold", bbox=frame)
