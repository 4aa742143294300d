"""Draw the gradients of one example that must not train half of a hidden layer, at each level of routing."""

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import torch
from matplotlib.patches import Rectangle
from torch import nn

from routing import Regions, Router, Rules, units

INPUTS, WIDTH, OUTPUTS = 6, 10, 4
REGION = slice(0, WIDTH // 2)
LAYERS = {"0": "layer before", "2": "writes the region", "4": "reads the region"}
LEVELS = {
    "unrouted": "",
    "activation": "nothing upstream learns\nthrough the region;\ncolumns that read it learn",
    "rows": "what writes the region\ndoes not learn",
    "columns": "what reads the region\ndoes not learn",
    "parameter": "the region does not learn;\neverything upstream learns\nas if unrouted",
    "forward_ablated": "the region does not learn\nand outputs 0, so nothing\nlearns to rely on it",
}


def gradients(level: str) -> dict[str, torch.Tensor]:
    """Return layer -> |gradient| of its weight, for one example whose weight in the region is 0."""
    torch.manual_seed(3)
    model = nn.Sequential(
        nn.Linear(INPUTS, WIDTH), nn.Tanh(), nn.Linear(WIDTH, WIDTH), nn.Tanh(), nn.Linear(WIDTH, OUTPUTS)
    )
    rules = Rules(Regions(model, {"half": units("2", REGION, out="4")}), ("off", "on"), {"off": {"half": 0.0}})
    router = Router(model, rules, "activation" if level == "unrouted" else level)
    with router(["on" if level == "unrouted" else "off"]):
        model(torch.randn(1, INPUTS)).square().sum().backward()
    return {name: model.get_submodule(name).weight.grad.abs() for name in LAYERS}


def outline(axes: plt.Axes, layer: str) -> None:
    """Outline the entries that belong to the region."""
    half = WIDTH // 2
    box = {"2": ((-0.5, -0.5), WIDTH, half), "4": ((-0.5, -0.5), half, OUTPUTS)}.get(layer)
    if box:
        axes.add_patch(Rectangle(*box, fill=False, edgecolor="tab:red", linewidth=2, clip_on=False))


def draw(path: Path) -> None:
    plain = gradients("unrouted")
    colours = plt.get_cmap("viridis").with_extremes(bad="0.85")
    figure, grid = plt.subplots(
        3, len(LEVELS), figsize=(12, 6.4), height_ratios=(WIDTH, WIDTH, OUTPUTS), layout="constrained"
    )
    for column, (level, caption) in enumerate(LEVELS.items()):
        for row, (layer, gradient) in enumerate(gradients(level).items()):
            axes = grid[row, column]
            shown = gradient.masked_fill(gradient == 0, float("nan"))
            axes.imshow(shown.numpy(), cmap=colours, vmin=0, vmax=float(plain[layer].max()))
            axes.set(xticks=[], yticks=[])
            outline(axes, layer)
        grid[0, column].set_title(level, fontsize=11)
        grid[2, column].set_xlabel(caption, fontsize=9)
    for row, name in enumerate(LAYERS.values()):
        grid[row, 0].set_ylabel(name, fontsize=10)
    figure.suptitle(
        "Gradient of each weight from one masked example; grey is exactly 0, red is the region", fontsize=12
    )
    figure.savefig(path, dpi=80)
    plt.close(figure)


if __name__ == "__main__":
    draw(Path(__file__).parents[1] / "routing_levels.png")
