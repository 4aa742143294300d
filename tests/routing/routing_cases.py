"""Networks with regions, and their routed gradients computed one example at a time.

The entries of each region are listed by hand here, so the expected gradients do not depend on the library. Run as a
script, it prints the relative error of every level.
"""

from collections.abc import Callable
from contextlib import ExitStack
from typing import NamedTuple

import torch
from torch import Tensor, nn

from routing import Regions, Router, Rules, module, params, units

B, LABELS = 7, ("x", "y", "z")
HALF = slice(0, 4)


class Entries(NamedTuple):
    """Entries of a parameter that belong to a region."""

    parameter: str
    region: str
    index: tuple = ()
    reads: bool = False


class Case(NamedTuple):
    model: Callable[[], nn.Module]
    inputs: Callable[[], Tensor]
    parts: dict
    entries: list[Entries]
    outputs: dict[str, tuple[str, tuple]]  # region -> path of its output, and index of its units


class Block(nn.Module):
    """A transformer block over token embeddings, with the head tied to the embedding."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(11, 8)
        self.before, self.after = nn.LayerNorm(8), nn.RMSNorm(8)
        self.attention = nn.MultiheadAttention(8, 2, dropout=0.0, batch_first=True)
        self.up, self.down = nn.Linear(8, 12), nn.Linear(12, 8)
        self.head = nn.Linear(8, 11, bias=False)
        self.head.weight = self.embedding.weight

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.embedding(tokens)
        y = self.before(x)
        x = x + self.attention(y, y, y)[0]
        x = x + self.down(nn.functional.gelu(self.up(self.after(x))))
        return self.head(x)


def mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 6), nn.LayerNorm(6), nn.Tanh(), nn.Linear(6, 3))


def convolutions() -> nn.Module:
    first = nn.Conv2d(3, 8, 3, stride=2, padding=1, padding_mode="circular")
    second = nn.Conv2d(8, 4, (3, 1), padding=(1, 0), dilation=(1, 2))
    return nn.Sequential(first, nn.GroupNorm(2, 8), nn.Tanh(), second, nn.Flatten(), nn.Linear(64, 3))


def floats(*shape: int) -> Callable[[], Tensor]:
    return lambda: torch.randn(B, *shape, dtype=torch.float64)


CASES = {
    "linear": Case(
        mlp,
        floats(5),
        {"a": units("0", HALF, out="2"), "b": [module("2"), params("5.bias")], "n": module("3")},
        [
            Entries("0.weight", "a", (HALF,)),
            Entries("0.bias", "a", (HALF,)),
            Entries("2.weight", "a", (slice(None), HALF), reads=True),
            Entries("2.weight", "b"),
            Entries("2.bias", "b"),
            Entries("5.bias", "b"),
            Entries("3.weight", "n"),
            Entries("3.bias", "n"),
        ],
        {"a": ("0", (..., HALF)), "b": ("2", ()), "n": ("3", ())},
    ),
    "linear over tokens": Case(
        mlp,
        floats(6, 5),
        {"a": units("0", slice(1, 8, 2)), "b": module("5")},
        [
            Entries("0.weight", "a", (slice(1, 8, 2),)),
            Entries("0.bias", "a", (slice(1, 8, 2),)),
            Entries("5.weight", "b"),
            Entries("5.bias", "b"),
        ],
        {"a": ("0", (..., slice(1, 8, 2))), "b": ("5", ())},
    ),
    "convolution and group norm": Case(
        convolutions,
        floats(3, 8, 8),
        {"a": units("0", HALF, out="3"), "b": params("3.*"), "n": units("1", HALF)},
        [
            Entries("0.weight", "a", (HALF,)),
            Entries("0.bias", "a", (HALF,)),
            Entries("3.weight", "a", (slice(None), HALF), reads=True),
            Entries("3.weight", "b"),
            Entries("3.bias", "b"),
            Entries("1.weight", "n", (HALF,)),
            Entries("1.bias", "n", (HALF,)),
        ],
        {"a": ("0", (slice(None), HALF)), "n": ("1", (slice(None), HALF))},
    ),
    "transformer block, tied head": Case(
        Block,
        lambda: torch.randint(0, 11, (B, 5)),
        {
            "a": units("up", HALF, out="down"),
            "b": [module("attention"), module("after")],
            "e": params("embedding.weight"),
            "n": params("before.bias"),
        },
        [
            Entries("up.weight", "a", (HALF,)),
            Entries("up.bias", "a", (HALF,)),
            Entries("down.weight", "a", (slice(None), HALF), reads=True),
            *(Entries(f"attention.{n}", "b") for n in ("in_proj_weight", "in_proj_bias")),
            *(Entries(f"attention.out_proj.{n}", "b") for n in ("weight", "bias")),
            Entries("after.weight", "b"),
            Entries("embedding.weight", "e"),
            Entries("before.bias", "n"),
        ],
        {"a": ("up", (..., HALF))},
    ),
}


class Setup(NamedTuple):
    case: Case
    model: nn.Module
    inputs: Tensor
    direction: Tensor  # the loss is the inner product of output and direction
    rules: Rules
    labels: Tensor


def applicable_regions(name: str, level: str) -> tuple[str, ...]:
    """Return the regions of a case to which a level applies."""
    case = CASES[name]
    if level in ("activation", "forward_ablated"):
        return tuple(case.outputs)
    if level == "columns":
        return tuple(dict.fromkeys(entry.region for entry in case.entries if entry.reads))
    if level == "rows":
        whole = {entry.region for entry in case.entries if not entry.index}
        return tuple(region for region in case.parts if region not in whole)
    return tuple(case.parts)


def setup(name: str, level: str, soft: bool) -> Setup:
    """Build a case with random real weights; the third label trains nothing."""
    torch.manual_seed(0)
    case, regions = CASES[name], applicable_regions(name, level)
    model, inputs = case.model().double(), case.inputs()
    weights = {label: {region: torch.randn(()).item() for region in regions} for label in LABELS}
    weights["z"] = dict.fromkeys(regions, 0.0)
    rules = Rules(Regions(model, {region: case.parts[region] for region in regions}), LABELS, weights)
    hard = torch.tensor([0, 1, 2, 0, 1, 2, 1])
    mixed = torch.cat([nn.functional.one_hot(hard[:3], 3).double(), torch.randn(B - 3, 3, dtype=torch.float64)])
    return Setup(case, model, inputs, torch.randn_like(model(inputs)), rules, mixed if soft else hard)


def gradients(model: nn.Module, inputs: Tensor, direction: Tensor) -> dict[str, Tensor]:
    model.zero_grad()
    (model(inputs) * direction).sum().backward()
    return {name: torch.zeros_like(p) if p.grad is None else p.grad for name, p in model.named_parameters()}


def routed(s: Setup, level: str) -> dict[str, Tensor]:
    """Compute routed gradients with the library."""
    with Router(s.model, s.rules, level)(s.labels):
        return gradients(s.model, s.inputs, s.direction)


def looped(s: Setup, level: str) -> dict[str, Tensor]:
    """Compute routed gradients with a loop over examples."""
    table = s.rules.table
    rows = table[s.labels] if s.labels.dim() == 1 else s.labels @ table
    total = {name: torch.zeros_like(p) for name, p in s.model.named_parameters()}
    for i in range(B):
        weights = dict(zip(s.rules.regions, rows[i], strict=True))
        with ExitStack() as stack:
            for name, weight in weights.items() if level in ("activation", "forward_ablated") else ():
                stack.callback(_hook_output(s, name, weight, level).remove)
            one = gradients(s.model, s.inputs[i : i + 1], s.direction[i : i + 1])
        for name, gradient in one.items():
            total[name] += gradient if level == "activation" else _weighted(s, name, gradient, weights, level)
    return total


def _weighted(s: Setup, name: str, gradient: Tensor, weights: dict[str, Tensor], level: str) -> Tensor:
    factor = torch.ones_like(gradient)
    for entry in s.case.entries:
        applies = entry.parameter == name and entry.region in weights
        if applies and level != ("columns" if not entry.reads else "rows"):
            factor[entry.index] *= weights[entry.region]
    return gradient * factor


def _hook_output(s: Setup, name: str, weight: Tensor, level: str):
    path, index = s.case.outputs[name]

    def hook(layer, args, output):
        mask = torch.zeros_like(output)
        mask[index] = 1
        if level == "activation":
            return mask * (weight * output + (1 - weight) * output.detach()) + (1 - mask) * output
        return output * (1 - mask) if weight == 0 else output

    return s.model.get_submodule(path).register_forward_hook(hook)


def error(name: str, level: str, soft: bool) -> tuple[float, float]:
    """Return the largest relative error of any parameter's gradient, and the largest relative change by routing."""
    s = setup(name, level, soft)
    expected, plain, actual = looped(s, level), gradients(s.model, s.inputs, s.direction), routed(s, level)
    errors = [float((actual[n] - g).norm() / g.norm()) for n, g in expected.items() if g.norm() > 0]
    exact = all(not actual[n].any() for n, g in expected.items() if not g.any())
    change = max(float((actual[n] - g).norm() / g.norm()) for n, g in plain.items())
    return max(errors) if exact else float("inf"), change


LEVELS = ("activation", "parameter", "rows", "columns", "forward_ablated")
COMBINATIONS = [
    (name, level, soft)
    for name in CASES
    for level in LEVELS
    for soft in (False, True)
    if applicable_regions(name, level)
]

if __name__ == "__main__":
    print(f"{'network':<32}{'level':<18}{'hard labels':>14}{'soft labels':>14}{'change by routing':>20}")
    for name, level in dict.fromkeys((name, level) for name, level, _ in COMBINATIONS):
        (hard, change), (soft, _) = error(name, level, False), error(name, level, True)
        print(f"{name:<32}{level:<18}{hard:>14.1e}{soft:>14.1e}{change:>20.2f}")
