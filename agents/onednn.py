"""Computes float32 matrix products on the CPU by oneDNN, which uses a processor's widest registers on every vendor.

PyTorch computes them by MKL, which uses those registers on Intel's processors only and takes nearly twice as long on
AMD's. PyTorch hands them to oneDNN when their factors may be rounded to bfloat16. oneDNN rounds only on processors with
units for bfloat16 matrices. A trial product detects such processors, and they keep MKL.
"""

import functools
from collections.abc import Iterator
from contextlib import contextmanager

import torch

ROUNDING = 1e-5  # relative error: float32 stays below a tenth of it, bfloat16 above a hundred times


@contextmanager
def use_onednn() -> Iterator[None]:
    """Context in which oneDNN computes float32 products on the CPU, where it computes them in float32.

    The setting is global to the process and is reset on exit.
    """
    with _allow_rounding(_keeps_float32()):
        yield


@functools.cache
def _keeps_float32() -> bool:
    """Whether oneDNN keeps factors in float32 although it may round them."""
    if not torch.backends.mkldnn.is_available():
        return False
    a, b = torch.randn(2, 256, 256, generator=torch.Generator().manual_seed(0))
    exact = a.double() @ b.double()
    with _allow_rounding(True):
        return bool((a @ b - exact).norm() < ROUNDING * exact.norm())


@contextmanager
def _allow_rounding(allowed: bool) -> Iterator[None]:
    matmul = torch.backends.mkldnn.matmul  # type: ignore[attr-defined]
    before = matmul.fp32_precision
    if allowed:
        matmul.fp32_precision = "bf16"
    try:
        yield
    finally:
        matmul.fp32_precision = before
