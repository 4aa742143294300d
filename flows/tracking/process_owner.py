"""Identifies the process that owns a run, so that runs of dead processes can be closed and others left alone.

On Linux a process is identified by the kernel's boot id, its PID namespace, its number and its start in clock ticks
since boot. None of these changes when the system clock is set. Where /proc is missing, as on macOS, host name, number
and psutil's creation time identify it; there the kernel stores that time once, at the start of the process.

A process on another machine or in another PID namespace cannot be seen. Its owner raises a counter in the store, the
tag `heartbeat`; the process lives if the counter changes while an observer waits.
"""

import os
import socket
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import psutil

PROCESS = "process"  # tag that identifies a process on Linux: boot id, PID namespace and start ticks
HEARTBEAT = "heartbeat"  # tag of a run without a parent: a counter that its owner raises
HEARTBEAT_SECONDS = 10.0  # between two counts
OBSERVATION_SECONDS = 45.0  # that an observer waits for the next count; a busy database may delay one
PROC = Path("/proc")


def owner_tags(pid: int | None = None) -> dict[str, str]:
    """Return tags that identify a process, by default this one."""
    process = psutil.Process(pid)
    tags = {
        "host": socket.gethostname(),
        "pid": str(process.pid),
        "process_started": f"{process.create_time():.0f}",
    }
    space, ticks = _machine(), _start_ticks(process.pid)
    return {**tags, PROCESS: f"{space} {ticks}"} if space and ticks else tags


def is_alive(tags: Mapping[str, str]) -> bool | None:
    """Return whether the process named by these tags lives; None if it cannot be seen from here."""
    if PROCESS not in tags:
        return _is_alive_by_time(tags)
    space, _, ticks = tags[PROCESS].rpartition(" ")
    if space != _machine():
        return None
    pid = int(tags["pid"])
    found = _start_ticks(pid)
    return found == ticks if found or not _exists(pid) else None


def is_abandoned(tags: Mapping[str, str]) -> bool:
    """Return whether the process named by these tags can be seen to have ended."""
    return is_alive(tags) is False


def is_hidden_neighbour(tags: Mapping[str, str]) -> bool:
    """Return whether the process ran on a machine of this name, but in another boot or PID namespace, or hidden."""
    return PROCESS in tags and tags.get("host") == socket.gethostname() and is_alive(tags) is None


def beating(read: Callable[[], Mapping[str, str | None]], seconds: float = OBSERVATION_SECONDS) -> set[str]:
    """Observe heartbeats and return the names whose counter changes within `seconds` of monotonic time.

    Args:
        read: returns name -> counter; None for a name without a counter.
        seconds: how long to observe; the observation ends early when every counter has changed.
    """
    first, start = read(), time.monotonic()
    observed = {name for name, count in first.items() if count is not None}
    changed: set[str] = set()
    while observed - changed and time.monotonic() - start < seconds:
        time.sleep(min(1.0, seconds / 10))
        now = read()
        changed |= {name for name in observed if now.get(name, first[name]) != first[name]}
    return changed


def _machine() -> str:
    """Return the boot id and PID namespace of this process; empty where the kernel has none."""
    try:
        boot = (PROC / "sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink(PROC / 'self/ns/pid')}"
    except OSError:
        return ""


def _start_ticks(pid: int) -> str:
    """Return when a process started, in clock ticks since boot; empty for one that has ended or cannot be read."""
    try:
        fields = (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()  # the name may contain spaces
    except OSError:
        return ""
    state, ticks = fields[0], fields[19]  # fields 3 and 22 of the file
    return "" if state in "ZX" else ticks


def _exists(pid: int) -> bool:
    """Return whether a process of another user exists whose directory in /proc is hidden."""
    try:
        os.kill(pid, 0)
    except PermissionError:
        return not (PROC / str(pid)).exists()
    except OSError:
        return False
    return False


def _is_alive_by_time(tags: Mapping[str, str]) -> bool | None:
    """Identify a process by host name and creation time: tags of earlier versions, and systems without /proc."""
    if tags.get("host") != socket.gethostname():
        return None
    try:
        started = psutil.Process(int(tags["pid"])).create_time()
    except (psutil.Error, KeyError, ValueError):
        return False
    return abs(started - float(tags.get("process_started", started))) <= 2
