"""Description of the machine and software of a benchmark; absolute numbers of two machines are not comparable."""

import os
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil
import torch

from flows.tracking.provenance import commit

PACKAGES = ("torch", "stable-baselines3", "gymnasium", "numpy", "scipy", "prefect", "mlflow")


def machine_facts() -> dict[str, Any]:
    """Return the processor, memory, current load, package versions and commit."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "system": f"{platform.system()} {platform.machine()}",
        "threads": torch.get_num_threads(),
        "load_1_minute": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        **{package: version(package) for package in PACKAGES},
        "commit": commit(Path(__file__).parent),
    }


def _processor() -> str:
    """Model name and wide instruction sets from /proc/cpuinfo; elsewhere what `platform` returns."""
    cpuinfo = Path("/proc/cpuinfo")
    if not cpuinfo.exists():
        return platform.processor() or platform.machine()
    rows = [row.partition(":") for row in cpuinfo.read_text().splitlines()]
    fields = {name.strip(): value.strip() for name, _, value in rows}
    flags = fields.get("flags", "").split()
    wide = [name for name in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if name in flags]
    return " ".join([fields.get("model name", platform.machine()), *wide])
