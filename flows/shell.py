"""Writes shell commands for messages so that they work as printed, from the directory of the process.

A program that is not on the PATH gets its path, arguments are quoted, and a store other than the default one is named.
"""

import os
import shlex
import shutil
import sys
from pathlib import Path
from urllib.parse import urlsplit

from flows.project import Project

KEYHOLE, MLFLOW = "keyhole", "mlflow"


def shell_command(*words: str, project: Project | None = None) -> str:
    """Return a keyhole command, in backquotes.

    Args:
        *words: its arguments, unquoted.
        project: the project whose store it uses; None if it uses no store.

    Returns:
        The command. An address with a password is not printed; text behind the command then says what to add.
    """
    options, rest = _store_options(project) if project else ([], "")
    return f"`{' '.join([program(KEYHOLE), shlex.join([*words, *options])]).strip()}`{rest}"


def mlflow_command(*words: str, uri: str = "") -> str:
    """Return an MLflow command, in backquotes.

    Args:
        *words: its arguments, unquoted.
        uri: the address of the store, given to MLflow as an environment variable; empty if the arguments contain it.
    """
    shown = f"{program(MLFLOW)} {shlex.join(words)}"
    if not uri:
        return f"`{shown}`"
    if _has_password(uri):
        return f"`{shown}` with MLFLOW_TRACKING_URI set to the store's address"
    return f"`MLFLOW_TRACKING_URI={shlex.quote(uri)} {shown}`"


def program(name: str) -> str:
    """Return how the shell of this process finds a program of this Python: its name, or its quoted path."""
    own = Path(sys.executable).with_name(name)
    found = shutil.which(name)
    if found and (not own.exists() or Path(found).samefile(own)):
        return name
    if own.exists():
        path = str(own)
        return shlex.quote(os.path.relpath(path) if own.is_relative_to(Path.cwd()) else path)
    return f"{shlex.quote(sys.executable)} -m {'flows' if name == KEYHOLE else name}"


def _store_options(project: Project) -> tuple[list[str], str]:
    """The options that select a project's store, and what must be added that cannot be printed."""
    options = [] if project.mlruns == project.root / "mlruns" else ["--mlruns", str(project.mlruns)]
    if _has_password(project.store):
        return options, " with the same --store"
    return options + (["--store", project.store] if project.store else []), ""


def _has_password(address: str) -> bool:
    """Whether an address contains a password, or is too damaged to tell."""
    try:
        return urlsplit(address).password is not None
    except ValueError:
        return True
