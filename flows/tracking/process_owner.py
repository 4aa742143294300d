"""Identifies the process that owns a run, so that runs of dead processes can be closed."""

import socket
from collections.abc import Mapping

import psutil


def owner_tags() -> dict[str, str]:
    """Tags that identify this process; the start time excludes a later process with the same number."""
    process = psutil.Process()
    return {
        "host": socket.gethostname(),
        "pid": str(process.pid),
        "process_started": f"{process.create_time():.0f}",
    }


def is_abandoned(tags: Mapping[str, str]) -> bool:
    """Return whether the process named by these tags ran on this machine and has ended."""
    if tags.get("host") != socket.gethostname():
        return False
    try:
        started = psutil.Process(int(tags["pid"])).create_time()
    except (psutil.Error, KeyError, ValueError):
        return True
    return abs(started - float(tags.get("process_started", started))) > 2
