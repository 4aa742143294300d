"""Cost of routing by number of blocks, relative to an unrouted pass.

Each measurement is a forward and backward pass of an MLP with 3 layers of 256 units on 4096 examples. The hidden units
are divided into a growing number of blocks and each example trains one block, so the network's own arithmetic stays
constant. docs/routing.md describes which gradients each level stops; `benchmarks/routing_overhead.py` compares
implementations of routing.
"""

from collections.abc import Iterator
from itertools import product

import torch
from torch import nn

from benchmarks.harness.figures import Figure
from benchmarks.harness.paired import Effort, Workload, measure_ratio
from routing import Regions, Router, Rules, units

UNIT = "CPU time relative to the unrouted pass"
WIDTH, DEPTH, EXAMPLES = 256, 3, 4096
LEVELS = ("activation", "parameter", "rows")


def measure(effort: Effort) -> Iterator[Figure]:
    """Compare each level and number of blocks with the same network without a router."""
    counts = (2, 4, 8, 16) if effort.full else (2, 16)
    base = unrouted_pass()
    for level, count in product(LEVELS, counts):
        ratio = measure_ratio(routed_pass(level, count), base, effort.rounds, effort.seconds / 2)
        yield Figure.of_cost(f"{level}, {count} blocks", ratio, series=level, x=count)


def build_mlp() -> nn.Sequential:
    """Build DEPTH linear layers of WIDTH units with ReLU; seeds torch's global generator with 0."""
    torch.manual_seed(0)
    return nn.Sequential(*(layer for _ in range(DEPTH) for layer in (nn.Linear(WIDTH, WIDTH), nn.ReLU())))


def unrouted_pass() -> Workload:
    """One forward and backward pass without a router."""
    return _pass_workload(build_mlp(), None)


def routed_pass(level: str, count: int) -> Workload:
    """One forward and backward pass in a router's context, with the hidden units divided into `count` blocks."""
    model, size = build_mlp(), WIDTH // count
    names = [f"block {i}" for i in range(count)]
    slices = [slice(i * size, (i + 1) * size) for i in range(count)]
    parts = {
        name: [units("0", rows, out="2"), units("2", rows, out="4")] for name, rows in zip(names, slices, strict=True)
    }
    return _pass_workload(model, Router(model, Rules.direct(Regions(model, parts)), level))


def _pass_workload(model: nn.Sequential, router: Router | None) -> Workload:
    x = torch.randn(EXAMPLES, WIDTH)
    if router is None:
        return lambda: _forward_backward(model, x)
    labels = torch.eye(len(router.levels))[torch.randint(len(router.levels), (EXAMPLES,))]

    def run() -> float:
        with router(labels):
            return _forward_backward(model, x)

    return run


def _forward_backward(model: nn.Sequential, x: torch.Tensor) -> float:
    model(x).square().mean().backward()
    return 1.0
