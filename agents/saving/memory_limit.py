"""Bounds the memory that a block of code may allocate, where the operating system can."""

from collections.abc import Iterator
from contextlib import contextmanager

import psutil

try:
    import resource
except ImportError:  # not on Windows
    resource = None  # type: ignore[assignment]


@contextmanager
def limited_memory(size: int) -> Iterator[None]:
    """Context in which this process can allocate `size` bytes more than it has; then an allocation fails.

    NumPy and Python raise MemoryError, PyTorch raises RuntimeError. Where the limit cannot be set (Windows, macOS), the
    block runs without one.
    """
    if resource is None:
        yield
        return
    before = resource.getrlimit(resource.RLIMIT_AS)
    used = psutil.Process().memory_info().vms
    try:
        resource.setrlimit(resource.RLIMIT_AS, (_smaller(used + size, before[0]), before[1]))
    except (ValueError, OSError):  # macOS has the constant, but not the limit
        yield
        return
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def _smaller(limit: int, other: int) -> int:
    return limit if other == resource.RLIM_INFINITY else min(limit, other)
