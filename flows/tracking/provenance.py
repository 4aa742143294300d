"""Params and tags that make a run reproducible: its settings, the git commit and the library versions."""

import functools
import platform
import subprocess
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from flows.config import Settings

PACKAGES = ("torch", "stable-baselines3", "gymnasium", "numpy", "scipy", "prefect", "mlflow")
SOURCE_FOLDER = Path(__file__).parent


@functools.cache
def provenance() -> Mapping[str, str]:
    """Return the commit and versions of this process, as found at the first call."""
    return {
        "git_commit": commit(SOURCE_FOLDER),
        "version.python": platform.python_version(),
        **{f"version.{package}": _installed_version(package) for package in PACKAGES},
    }


def commit(folder: Path) -> str:
    """Return the commit of `folder`, with '+changes' if tracked files differ from it; 'none' outside of git."""
    head = _git(folder, "rev-parse", "HEAD")
    if not head:
        return "none"
    return head + ("+changes" if _git(folder, "status", "--porcelain", "--untracked-files=no") else "")


def _git(folder: Path, *arguments: str) -> str:
    try:
        done = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def _installed_version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "none"


def run_params(config: Settings) -> dict[str, Any]:
    """Return the params of an MLflow run: every setting, the commit and the versions."""
    return {**config.model_dump(mode="json"), **provenance()}
