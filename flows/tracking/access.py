"""Check that a store can be written or read before a command uses it."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from flows.errors import UserError
from flows.project import Project
from flows.shell import shell_command
from flows.tracking import artifact_store, database


def check_writable(project: Project) -> None:
    """Check that the store and Prefect's home can be written.

    Raises:
        UserError: a folder or database cannot be written, a database does not answer, or a package is missing.
    """
    check_answers(project)
    for folder, advice in ((project.mlruns, "pass --mlruns DIR"), (project.prefect_home, "set PREFECT_HOME")):
        with _as_user_error(folder, advice):
            folder.mkdir(parents=True, exist_ok=True)
            (folder / ".lock").open("a").close()
    if project.database.exists() and not os.access(project.database, os.W_OK):  # closing it would end SQLite's locks
        with _as_user_error(project.database, "pass --mlruns DIR"):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))


def check_answers(project: Project) -> None:
    """Check that the store's database answers, if it is on a server; raise UserError otherwise."""
    if project.store:
        database.check_database(project.store)
    artifact_store.check_artifact_uri(project.artifact_uri)


def require_runs(project: Project) -> Project:
    """Return the project if it has a store; raise UserError otherwise."""
    if not project.store and not project.database.exists():
        compare = shell_command("compare", project=project)
        raise UserError(f"no runs in {project.mlruns} yet; run {compare} or pass --mlruns DIR")
    return project


@contextmanager
def _as_user_error(path: Path, advice: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UserError(f"cannot write to {path} ({error.strerror}); {advice} or change its permissions") from None
