"""Figures of one run: its learning curve, and its policy in every cell of a grid."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

import envs
from agents import BlockPolicy, BlockUse, Carried

CURVES: dict[str, tuple[str, dict[str, Any]]] = {  # metric: (label, style)
    "eval/true_return": ("true return, deployed policy", {"color": "C0", "linewidth": 2.5}),
    "eval/true_return/unseen": ("true return, deployed policy, unwatched episodes", {"color": "C0", "linestyle": ":"}),
    "eval/true_return/seen": ("true return, deployed policy, watched episodes", {"color": "C0", "linestyle": "--"}),
    "eval/true_return/whole": ("true return, whole policy", {"color": "C1"}),
    "eval/proxy_return": ("proxy return, deployed policy", {"color": "0.5"}),
}
GAP = 0.3  # between grids, in cells
FAST = {"compress_level": 3}  # PNG files as small as at level 6, in two thirds of the time


def learning_curve_figure(curve: Sequence[tuple[int, dict[str, float]]], title: str, path: Path) -> None:
    """Draw the evaluations of a run's checkpoints.

    Args:
        curve: (steps, metrics) of each checkpoint.
        title: the figure's title.
        path: the PNG to write.
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
    """Draw the policy in every cell for some start states: the whole policy, and each of several experts alone.

    A policy with a memory is drawn as if its episode started in the cell.

    An arrow's length is the action's probability. The background is the retain expert's coefficient. The letter of a
    watched square is framed.

    Args:
        policy: the policy to draw.
        world: the environment; nothing is drawn if it is not a world of ours with a grid `layout`.
        title: the figure's title.
        path: the PNG to write.
        starts: number of start states, sampled with the same seed for all runs.

    Returns:
        Whether the environment has a grid to draw.
    """
    if not isinstance(world.unwrapped, envs.POMDP) or world.action_arrows is None:
        return False
    states = start_states(world, starts)
    if world.layout(states[0]) is None:
        return False
    layouts = np.stack([world.layout(state) for state in states])
    height, width = layouts.shape[1:3]
    uses = uses_of(policy)
    size = (2.6 * starts + 1, 2.6 * len(uses) * height / width + 1)
    figure = Figure(figsize=size)  # one Axes for all grids: creating an Axes takes longer than drawing in it
    figure.suptitle(f"{title}\narrows: action probabilities; framed letters: watched squares")
    axes = figure.add_axes((0.03, 0.02, 0.97 - 1 / size[0], 0.98 - 0.7 / size[1]))
    colour_bar = figure.add_axes((1 - 0.85 / size[0], 0.25, 0.2 / size[0], 0.5))
    gate, probabilities = evaluate_policy(policy, world, layouts, list(uses.values()))
    figure.colorbar(draw_grids(axes, gate, list(uses)), cax=colour_bar, label="gate: weight of the retain expert")
    draw_arrows(axes, world, layouts, probabilities)
    for column, state in enumerate(states):
        draw_letters(axes, world.picture(state), column, len(uses))
    figure.savefig(path, dpi=110, pil_kwargs=FAST)
    return True


def uses_of(policy: BlockPolicy) -> dict[str, BlockUse]:
    """Return the uses that are drawn, by name: the whole policy and, of several experts or codes, each alone."""
    names = policy.architecture.coefficients
    alone = {f"{name} alone": BlockUse(tuple(float(other == name) for other in names)) for name in names}
    return {"whole": BlockUse(), **(alone if len(names) > 1 else {})}


def start_states(world, count: int) -> np.ndarray:
    """Sample (count, K) start states: watched ones first, at most half of them, then unwatched ones."""
    generator, world.np_random = world.np_random, np.random.default_rng(0)
    states = world.initial(4096)
    world.np_random = generator
    watched = world.watched(states)
    half = min(count // 2, int(watched.sum()))
    rest = states[~watched] if not watched.all() else states
    return np.concatenate([states[watched][:half], rest[: count - half]])


def evaluate_policy(
    policy: BlockPolicy, world, layouts: np.ndarray, uses: Sequence[BlockUse]
) -> tuple[np.ndarray, np.ndarray]:
    """Evaluate the policy in every cell of G grids.

    Args:
        policy: the policy to evaluate.
        world: its environment.
        layouts: (G, H, W, K) states; negative where the grid has no cell.
        uses: V uses of the policy's blocks.

    Returns:
        Gate values (G, H, W), nan where there is no cell, and action probabilities (V, G, H, W, A), 0 there.
    """
    real = (layouts >= 0).all(-1)
    observations = torch.as_tensor(world.observation(layouts[real]), device=policy.device)
    gate = np.full(real.shape, np.nan)
    with torch.no_grad():
        gate[real] = policy.gate_values(observations).cpu().numpy()
    probabilities = np.zeros((len(uses), *real.shape, len(world.action_arrows)))
    for grids, use in zip(probabilities, uses, strict=True):
        with policy.deployed(*use):
            at_start: Any = Carried(policy, len(observations)).distribution(observations).distribution
            grids[real] = at_start.probs.cpu().numpy()
    return gate, probabilities


def draw_grids(axes: Axes, gate: np.ndarray, names: Sequence[str]) -> QuadMesh:
    """Draw a row of grids for each name in units of cells; the background is the gate's value (G, H, W)."""
    count, height, width = gate.shape
    rows, columns = (
        (np.arange(n)[:, None] * (side + GAP) + np.arange(side + 1) - 0.5).ravel()
        for n, side in ((len(names), height), (count, width))
    )
    spaced = np.pad(gate, ((0, 0), (0, 1), (0, 1)), constant_values=np.nan)
    values = np.tile(np.concatenate(spaced, axis=1), (len(names), 1))[:-1, :-1]
    for row, name in enumerate(names):
        axes.text(-0.6, row * (height + GAP) + (height - 1) / 2, name, rotation=90, ha="right", va="center")
        for column in range(count):
            corner = column * (width + GAP) - 0.5, row * (height + GAP) - 0.5
            axes.add_patch(Rectangle(corner, width, height, fill=False, linewidth=0.8, zorder=2))
    axes.set(xlim=(-0.6, columns[-1] + 0.1), ylim=(rows[-1] + 0.1, -0.6), aspect="equal")
    axes.set_axis_off()
    return axes.pcolormesh(columns, rows, values, vmin=0, vmax=1, cmap="PuOr", alpha=0.6)


def draw_arrows(axes: Axes, world, layouts: np.ndarray, probabilities: np.ndarray) -> None:
    """Draw an arrow for each action in each cell that is not terminal."""
    height, width, variables = layouts.shape[1:]
    terminal = world.terminal(np.maximum(layouts, 0).reshape(-1, variables)).reshape(layouts.shape[:-1])
    grid, row, column = np.nonzero((layouts >= 0).all(-1) & ~terminal)
    lengths = probabilities[:, grid, row, column]  # (V, n, A)
    down, right = 0.48 * np.array(world.action_arrows).T[:, None, None] * lengths
    y = (np.arange(len(probabilities))[:, None] * (height + GAP) + row)[..., None]
    x = (grid * (width + GAP) + column)[:, None]
    arrow = {"angles": "xy", "scale_units": "xy", "scale": 1, "units": "x", "width": 0.012 * width, "headwidth": 4}
    axes.quiver(*(part.ravel() for part in np.broadcast_arrays(x, y, right, down)), **arrow)


def draw_letters(axes: Axes, picture, index: int, rows: int) -> None:
    """Draw the letters of a start state's objects in its grid of each row; letters of watched squares are framed."""
    height, width = picture.glyphs.shape
    for (row, column), glyph in np.ndenumerate(picture.glyphs):
        frame = {"facecolor": "white", "edgecolor": "black", "pad": 2} if picture.watched[row, column] else None
        if glyph.isalpha() and glyph != "A":
            for grid in range(rows):
                position = index * (width + GAP) + column, grid * (height + GAP) + row
                axes.text(*position, glyph, ha="center", va="center", fontweight="bold", bbox=frame)
