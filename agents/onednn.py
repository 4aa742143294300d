"""Products of float32 matrices by oneDNN, which fills a processor's widest registers whoever made it.

PyTorch leaves them to MKL, which does so on Intel's alone: on AMD's it takes nearly twice as long. It hands them to
oneDNN where their factors may be rounded to bfloat16, which oneDNN does only on processors with units for such
matrices. Those are found by a trial, and left as they are.
"""

import functools
from collections.abc import Iterator
from contextlib import contextmanager

import torch

ROUNDING = 1e-5  # relative error: float32 stays below a tenth of it, bfloat16 above a hundred times


@contextmanager
def by_onednn() -> Iterator[None]:
    """While the context lasts, float32 products on the CPU are oneDNN's, if those are float32's; else as they were."""
    with _may_round(_rounds_nothing()):
        yield


@functools.cache
def _rounds_nothing() -> bool:
    """Whether oneDNN, allowed to round the factors, does not."""
    if not torch.backends.mkldnn.is_available():
        return False
    a, b = torch.randn(2, 256, 256, generator=torch.Generator().manual_seed(0))
    exact = a.double() @ b.double()
    with _may_round(True):
        return bool((a @ b - exact).norm() < ROUNDING * exact.norm())


@contextmanager
def _may_round(allowed: bool) -> Iterator[None]:
    products = torch.backends.mkldnn.matmul  # type: ignore[attr-defined]
    before = products.fp32_precision
    if allowed:
        products.fp32_precision = "bf16"
    try:
        yield
    finally:
        products.fp32_precision = before
