"""Locks a store for one sweep at a time. The kernel releases the lock when its process dies."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from flows.errors import UserError
from flows.project import Project

_held: set[Path] = set()  # locks of this process; a flow called by the command line belongs to the same sweep


@contextmanager
def sweep_lock(project: Project, wait: bool = False) -> Iterator[None]:
    """Holds the lock of the store. Re-entrant within a process.

    Args:
        project: The project whose store is locked.
        wait: Whether to wait for another process that holds the lock.

    Raises:
        UserError: Another process holds the lock, and `wait` is false.
    """
    path = project.mlruns / ".lock"
    if path in _held:
        yield
        return
    with path.open("a+") as file:
        _take(file, project, wait)
        _held.add(path)
        try:
            yield
        finally:
            _held.discard(path)


def _take(file: IO[str], project: Project, wait: bool) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        file.seek(0)
        owner = file.read().strip() or "unknown"
        raise UserError(
            f"another sweep (process {owner}) writes to {project.mlruns}; wait until it ends or pass --mlruns DIR"
        ) from None
    file.truncate(0)
    file.write(str(os.getpid()))
    file.flush()
