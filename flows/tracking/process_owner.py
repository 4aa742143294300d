"""Whose a run is: the process that will close it. Where that process is gone, nobody will."""

import socket
from collections.abc import Mapping

import psutil


def owner_tags() -> dict[str, str]:
    """This process, told apart from a later one with the same number by when it started."""
    process = psutil.Process()
    return {
        "host": socket.gethostname(),
        "pid": str(process.pid),
        "process_started": f"{process.create_time():.0f}",
    }


def is_abandoned(tags: Mapping[str, str]) -> bool:
    """The process that these tags name was on this machine and is no more."""
    if tags.get("host") != socket.gethostname():
        return False
    try:
        started = psutil.Process(int(tags["pid"])).create_time()
    except (psutil.Error, KeyError, ValueError):
        return True
    return abs(started - float(tags.get("process_started", started))) > 2
