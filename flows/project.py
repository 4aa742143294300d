"""A project is the checkout around the current directory; its runs live in mlruns/, its Prefect in .prefect/.

One sweep at a time writes to a store. The lock is the kernel's, so a sweep that dies lets go of it.
"""

import os
from dataclasses import dataclass
from pathlib import Path

MLRUNS = "KEYHOLE_MLRUNS"  # environment variable that names another store
STORE = "KEYHOLE_STORE"  # one that names a database for it, in the place of its file
ARTIFACTS = "KEYHOLE_ARTIFACTS"  # one that names where a new store keeps its runs' files


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


def current_project() -> Project:
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
