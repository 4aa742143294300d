"""A project is the checkout around the current directory; its runs live in mlruns/, its Prefect in .prefect/.

One sweep at a time writes to a store. The lock is the kernel's, so a sweep that dies lets go of it.
"""

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from flows import artifact_store, database
from flows.mistakes import UserError

MLRUNS = "KEYHOLE_MLRUNS"  # environment variable that names another store
STORE = "KEYHOLE_STORE"  # one that names a database for it, in the place of its file
ARTIFACTS = "KEYHOLE_ARTIFACTS"  # one that names where a new store keeps its runs' files
_held: set[Path] = set()  # locks of this process: a flow started by the command line is the same sweep


@dataclass(frozen=True)
class Project:
    """Where things are."""

    root: Path
    mlruns: Path
    store: str = ""
    """address of the database; empty: the file in mlruns"""
    artifact_uri: str = ""
    """where the runs' files go when they end; empty: they stay in mlruns"""

    @property
    def database(self) -> Path:
        return self.mlruns / "mlflow.db"

    @property
    def artifacts(self) -> Path:
        return self.mlruns / "artifacts"

    @property
    def prefect_home(self) -> Path:
        return Path(os.environ.get("PREFECT_HOME") or self.root / ".prefect")


def here() -> Project:
    """The project of the current directory, with the store that the user chose."""
    start = Path.cwd()
    root = next(
        (p for p in (start, *start.parents) if (p / ".git").exists() or (p / "pyproject.toml").exists()),
        start,
    )
    mlruns = Path(os.environ.get(MLRUNS) or root / "mlruns").absolute()
    return Project(root, mlruns, os.environ.get(STORE, ""), _uri(os.environ.get(ARTIFACTS, "")))


def _uri(said: str) -> str:
    """A folder's address for its path; others as they are."""
    return Path(said).absolute().as_uri() if said and ":/" not in said else said


def writable(project: Project) -> None:
    """Nothing happens if the store and Prefect's home can be written to; else a UserError."""
    if project.store:
        database.check(project.store)
    artifact_store.check(project.artifact_uri)
    for folder, advice in ((project.mlruns, "pass --mlruns DIR"), (project.prefect_home, "set PREFECT_HOME")):
        with _explained(folder, advice):
            folder.mkdir(parents=True, exist_ok=True)
            (folder / ".lock").open("a").close()
    if project.database.exists() and not os.access(project.database, os.W_OK):  # closing it would end SQLite's locks
        with _explained(project.database, "pass --mlruns DIR"):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))


def recorded(project: Project) -> Project:
    """The project, which has runs; else a UserError."""
    if not project.store and not project.database.exists():
        raise UserError(f"no runs in {project.mlruns} yet; run `keyhole compare` or pass --mlruns DIR")
    return project


@contextmanager
def _explained(path: Path, advice: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UserError(f"cannot write to {path} ({error.strerror}); {advice} or change its permissions") from None


@contextmanager
def only_sweep(project: Project, wait: bool = False) -> Iterator[None]:
    """The right to sweep into this store; if another process has it, a UserError, or its end is waited for."""
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
            f"another sweep (process {owner}) writes to {project.mlruns}; wait for it or pass --mlruns DIR"
        ) from None
    file.truncate(0)
    file.write(str(os.getpid()))
    file.flush()
