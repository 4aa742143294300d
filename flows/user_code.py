"""Tells user code from the standard library, installed distributions and our own packages.

User code is every loaded module whose file lies outside all of these. It is what a run depends on besides this
repository and the libraries, and where an error that this repository did not cause comes from.
"""

import functools
import hashlib
import os
import site
import sys
import sysconfig
import traceback
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

from flows.search_path import PACKAGES
from flows.text import exception_line, one_line

INSTALLED = ("site-packages", "dist-packages")


@functools.cache
def library_folders() -> tuple[str, ...]:
    """Folders of the standard library, of installed distributions and their scripts, and of our packages."""
    names = ("stdlib", "platstdlib", "purelib", "platlib", "scripts")
    folders = [sysconfig.get_path(name) for name in names]
    folders += [*site.getsitepackages(), site.getusersitepackages(), *map(_package_folder, PACKAGES)]
    resolved = [str(Path(folder).resolve()) for folder in folders if folder]
    return tuple(dict.fromkeys(f"{folder}{os.sep}" for folder in [*filter(None, folders), *resolved]))


def _package_folder(package: str) -> str:
    spec = find_spec(package)
    return next(iter(spec.submodule_search_locations or ()), "") if spec else ""


@functools.cache
def is_user_file(file: str) -> bool:
    """Returns whether a source file is user code."""
    if file.startswith(("<", *library_folders())) or set(INSTALLED) & set(Path(file).parts):
        return False
    return not str(Path(file).resolve()).startswith(library_folders())


def user_modules() -> dict[str, ModuleType]:
    """Returns the loaded user modules by name. A worker's copy of the main module has the main module's name."""
    found = {}
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if isinstance(file, str) and is_user_file(file):
            found["__main__" if name == "__mp_main__" else name] = module
    return found


def module_digests() -> dict[str, str]:
    """Returns the SHA-256 of the file of every loaded user module, by module name."""
    return {name: module_digest(module) for name, module in sorted(user_modules().items())}


def module_digest(module: ModuleType) -> str:
    """Returns the SHA-256 of a module's file: a source file, a C extension or a member of a zip archive."""
    return hashlib.sha256(_content(module)).hexdigest()


def _content(module: ModuleType) -> bytes:
    file = str(module.__file__)
    try:
        return Path(file).read_bytes()
    except OSError:
        loader: Any = getattr(module, "__loader__", None)
        return loader.get_data(file) if hasattr(loader, "get_data") else b""


def error_line(error: BaseException) -> str:
    """Describes an exception on one line: "Type: message (file:line)", with the innermost line of user code."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{type(error).__name__}: {one_line(error.msg)} ({_short(error.filename)}:{error.lineno})"
    return exception_line(error) + (user_place(error) or user_place(error.__cause__))


def user_place(error: BaseException | None) -> str:
    """The innermost line of user code on an exception's traceback, as " (file:line)"; "" if there is none."""
    found = traceback.extract_tb(error.__traceback__) if error is not None else []
    frames = [frame for frame in found if is_user_file(frame.filename)]
    return f" ({_short(frames[-1].filename)}:{frames[-1].lineno})" if frames else ""


def raised_by_user(error: BaseException) -> bool:
    """Returns whether user code is on the exception's traceback."""
    return any(is_user_file(frame.filename) for frame in traceback.extract_tb(error.__traceback__))


def _short(file: str) -> str:
    """The path relative to the current directory if it is below it."""
    path, current = Path(file).resolve(), Path.cwd()
    return str(path.relative_to(current)) if path.is_relative_to(current) else str(path)
