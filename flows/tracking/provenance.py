"""What a run says of itself: every setting, the commit, the versions."""

import functools
import platform
import subprocess
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from flows.config import CompareConfig, TrainConfig

PACKAGES = ("torch", "stable-baselines3", "gymnasium", "numpy", "scipy", "prefect", "mlflow")
SOURCE_FOLDER = Path(__file__).parent


@functools.cache
def provenance() -> Mapping[str, str]:
    """Parameters that say how to make the run again: what this process has found when it was first asked."""
    return {
        "git_commit": commit(SOURCE_FOLDER),
        "version.python": platform.python_version(),
        **{f"version.{package}": _installed_version(package) for package in PACKAGES},
    }


def commit(folder: Path) -> str:
    """The commit that `folder` is at, with '+changes' when files differ from it; 'none' outside of git."""
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


def run_params(config: CompareConfig | TrainConfig) -> dict[str, Any]:
    """An MLflow run's parameters: every setting, and what it was made with."""
    return {**config.model_dump(mode="json"), **provenance()}


def run_tags(config: TrainConfig) -> dict[str, str]:
    """What runs are filtered and grouped by on MLflow's page."""
    return {
        "kind": "run",
        "env": config.env,
        "method": config.method,
        "arm": config.label,
        "oversight": f"{config.oversight:g}",
        "seed": str(config.seed),
    }
