"""Writes shell commands for messages so that they work as printed, from the directory of the process.

A program that is not on the PATH gets its path, arguments are quoted, and a store other than the default one is named.
"""

import os
import shlex
import shutil
import sys
from pathlib import Path

from flows.project import FROM_SHELL, MLRUNS, STORE, Project
from flows.text import without_password

KEYHOLE, MLFLOW = "keyhole", "mlflow"


def shell_command(*words: str, project: Project | None = None) -> str:
    """Return a keyhole command, in backquotes.

    Args:
        *words: its arguments, unquoted.
        project: the project whose store it uses; None if it uses no store.

    Returns:
        The command. An address with a password is left out, and a note after the command says what to add.
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
    if without_password(uri) != uri:
        return f"`{shown}` with MLFLOW_TRACKING_URI set to the store's address"
    return f"`MLFLOW_TRACKING_URI={shlex.quote(uri)} {shown}`"


def program(name: str) -> str:
    """Return what to type to run a program of this Python: its name, its quoted path, or `python -m`."""
    own = Path(sys.executable).with_name(name)
    if not own.exists():
        return f"{shlex.quote(sys.executable)} -m {'flows' if name == KEYHOLE else name}"
    found = shutil.which(name)
    if found and Path(found).samefile(own):
        return name
    inside = own.is_relative_to(Path.cwd())
    path = os.path.join(".", os.path.relpath(own)) if inside else str(own)
    return shlex.quote(path.removeprefix("./") if path.count("/") > 1 else path)


def _store_options(project: Project) -> tuple[list[str], str]:
    """The options that select a project's store, and what must be added that cannot be printed."""
    default = Path(FROM_SHELL[MLRUNS] or project.root / "mlruns").absolute()
    options = [] if project.mlruns == default else ["--mlruns", str(project.mlruns)]
    if project.store == FROM_SHELL[STORE]:
        return options, ""
    if without_password(project.store) != project.store:
        return options, " with the same --store"
    return [*options, "--store", project.store], ""
