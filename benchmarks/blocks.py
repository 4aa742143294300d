"""Cost of routing against the number of blocks, an unrouted pass being 1

Forward and backward of an MLP of 3 layers of 256 units on 4096 examples. Its hidden units are cut into more and more
blocks, and each example trains one of them, so the network's own arithmetic is the same throughout. What levels stop
is told in docs/routing.md; `benchmarks/routing_overhead.py` compares ways of routing.
"""

from collections.abc import Iterator
from itertools import product

import torch
from torch import nn

from benchmarks.harness.figures import Figure
from benchmarks.harness.paired import Effort, Way, paired
from routing import Regions, Router, Rules, units

UNIT = "times the CPU time of the unrouted pass"
WIDTH, EXAMPLES = 256, 4096
LEVELS = ("activation", "parameter", "rows")


def measure(effort: Effort) -> Iterator[Figure]:
    """Every level with every number of blocks, against the same network unrouted."""
    counts = (2, 4, 8, 16) if effort.whole else (2, 16)
    base = unrouted()
    for level, count in product(LEVELS, counts):
        ratio = paired(routed(level, count), base, effort.rounds, effort.seconds / 2)
        yield Figure.of_cost(f"{level}, {count} blocks", ratio, series=level, x=count)


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(*(layer for _ in range(3) for layer in (nn.Linear(WIDTH, WIDTH), nn.ReLU())))


def unrouted() -> Way:
    """One forward and backward pass."""
    return _passing(network(), None)


def routed(level: str, count: int) -> Way:
    """The same inside a router's context."""
    model, size = network(), WIDTH // count
    names = [f"block {i}" for i in range(count)]
    cuts = [slice(i * size, (i + 1) * size) for i in range(count)]
    parts = {name: [units("0", cut, out="2"), units("2", cut, out="4")] for name, cut in zip(names, cuts, strict=True)}
    return _passing(model, Router(model, Rules.direct(Regions(model, parts)), level))


def _passing(model: nn.Sequential, router: Router | None) -> Way:
    x = torch.randn(EXAMPLES, WIDTH)
    if router is None:
        return lambda: _pass(model, x)
    labels = torch.eye(len(router.levels))[torch.randint(len(router.levels), (EXAMPLES,))]

    def way() -> float:
        with router(labels):
            return _pass(model, x)

    return way


def _pass(model: nn.Sequential, x: torch.Tensor) -> float:
    model(x).square().mean().backward()
    return 1.0
