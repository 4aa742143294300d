"""Locates the project: the checkout around the current directory, with runs in mlruns/ and Prefect in .prefect/."""

import os
from dataclasses import dataclass
from pathlib import Path

MLRUNS = "KEYHOLE_MLRUNS"  # environment variable: directory of another store
STORE = "KEYHOLE_STORE"  # environment variable: URI of a database that replaces the SQLite file
ARTIFACTS = "KEYHOLE_ARTIFACTS"  # environment variable: URI where a new store keeps the files of its runs
FROM_SHELL = {name: os.environ.get(name, "") for name in (MLRUNS, STORE, ARTIFACTS)}  # before options replace them


@dataclass(frozen=True)
class Project:
    """Paths and addresses of a project."""

    root: Path
    mlruns: Path
    store: str = ""
    """URI of the database; empty: the SQLite file in mlruns."""
    artifact_uri: str = ""
    """URI to which the files of a run are uploaded when it ends; empty: they stay in mlruns."""

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
    """Returns the project of the current directory, with the store that the environment variables select."""
    return project_with(None, None)


def project_with(mlruns: str | Path | None, store: str | None) -> Project:
    """Returns the project of the current directory with another store.

    Args:
        mlruns: Directory of the store; None: the one that the environment variable selects, else mlruns/.
        store: URI of the database; None: the one that the environment variable selects, unless `mlruns` is given; else
            the file in `mlruns`.
    """
    start = Path.cwd()
    root = next(
        (p for p in (start, *start.parents) if (p / ".git").exists() or (p / "pyproject.toml").exists()),
        start,
    )
    folder = Path(mlruns or os.environ.get(MLRUNS) or root / "mlruns").absolute()
    database = os.environ.get(STORE, "") if store is None and mlruns is None else store or ""
    return Project(root, folder, database, _uri(os.environ.get(ARTIFACTS, "")))


def _uri(location: str) -> str:
    """Turns a path into a file URI; returns a URI unchanged."""
    return Path(location).absolute().as_uri() if location and ":/" not in location else location
