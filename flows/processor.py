"""Which number formats the processor computes in."""

import functools
from pathlib import Path

CPU_INFO = Path("/proc/cpuinfo")
BF16 = {"avx512_bf16", "amx_bf16", "bf16"}  # flags of x86 and of ARM processors


@functools.cache
def computes_bf16(device: str) -> bool:
    """Return whether matrix products in bfloat16 are faster than in float32 on a device.

    A processor without these instructions emulates them, several times slower. Graphics processors have them. Where the
    processor cannot be asked (not Linux), the answer is no.
    """
    if not device.startswith("cpu"):
        return True
    try:
        text = CPU_INFO.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    lines = (line.partition(":") for line in text.splitlines())
    return any(BF16 & set(flags.split()) for name, _, flags in lines if name.strip() in ("flags", "Features"))
