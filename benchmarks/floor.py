"""How near training comes to the arithmetic that it does

The products of matrices in one rollout and update of `reinforce` are counted from their shapes as torch dispatches
them, forward and backward, and divided by the rate at which this machine multiplies two 1024 x 1024 matrices in the
same minute. That is the least time those products can take; the ratio is its part of the time that was taken. The
products of one network's batch are narrower than 1024, so 1 is out of reach at width 64.
"""

from collections.abc import Iterator

import torch
from torch.utils.flop_counter import FlopCounterMode

from agents.onednn import by_onednn
from benchmarks.harness.figures import Figure
from benchmarks.harness.paired import Effort, Way, paired
from benchmarks.learners import ours

UNIT = "least time of its matrix products / time of the update"
SIDE = 1024


def measure(effort: Effort) -> Iterator[Figure]:
    """By width."""
    for width in (64, 256) if effort.whole else (64,):
        for name, kind in {"fp32": torch.float32, "bf16": torch.bfloat16}.items():
            update = counted(ours("reinforce", width=width, precision=name))
            ratio = paired(update, product(kind), effort.rounds, effort.seconds)
            yield Figure.of(f"{name}, width {width}", ratio, "GFLOP/CPU-s", 1e9)


def counted(update: Way) -> Way:
    """An update whose work is its floating-point operations, counted once, after a first update."""
    update()
    with FlopCounterMode(display=False) as counter:
        update()
    operations = counter.get_total_flops()

    def way() -> float:
        update()
        return operations

    return way


def product(kind: torch.dtype) -> Way:
    """One large product of matrices, by the library that the learner uses; its floating-point operations."""
    a, b = torch.randn(2, SIDE, SIDE).to(kind).unbind()

    def way() -> float:
        with by_onednn():
            torch.mm(a, b)
        return 2.0 * SIDE**3

    return way
