"""Training time against the minimum time of its matrix products.

The floating-point operations of all matrix products in one rollout and update of `reinforce`, forward and backward,
are counted from their shapes as torch dispatches them. Dividing them by this machine's rate on 1024 x 1024 products,
measured in turn, gives the minimum time for those products. The ratio is that minimum over the measured time. The
learner's products are narrower than 1024, so width 64 cannot reach 1. The exception is bf16 on a processor without bf16
instructions: the reference itself is slow there, and the ratio can exceed 1.
"""

from collections.abc import Iterator

import torch
from torch.utils.flop_counter import FlopCounterMode

from agents.onednn import use_onednn
from benchmarks.harness.figures import Figure
from benchmarks.harness.paired import Effort, Workload, measure_ratio
from benchmarks.learners import training_workload

UNIT = "minimum time of the matrix products / time of the update"
SIDE = 1024


def measure(effort: Effort) -> Iterator[Figure]:
    """Measure each network width and precision."""
    for width in (64, 256) if effort.full else (64,):
        for name, dtype in {"fp32": torch.float32, "bf16": torch.bfloat16}.items():
            update = in_flops(training_workload("reinforce", width=width, precision=name))
            ratio = measure_ratio(update, matrix_product(dtype), effort.rounds, effort.seconds)
            yield Figure.of(f"{name}, width {width}", ratio, "GFLOP/CPU-s", 1e9)


def in_flops(update: Workload) -> Workload:
    """Return `update` with its work in floating-point operations, counted once on a second call."""
    update()
    with FlopCounterMode(display=False) as counter:
        update()
    operations = counter.get_total_flops()

    def run() -> float:
        update()
        return operations

    return run


def matrix_product(dtype: torch.dtype) -> Workload:
    """One large matrix product by the learner's library; work in floating-point operations."""
    a, b = torch.randn(2, SIDE, SIDE).to(dtype).unbind()

    def run() -> float:
        with use_onednn():
            torch.mm(a, b)
        return 2.0 * SIDE**3

    return run
