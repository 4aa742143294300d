"""Finds methods, parts and limits that other modules register: by module name, or by entry points.

    my_module:my_method       imports my_module, which registers my_method
    my_method                 registered already, or by an installed distribution with an entry point

An entry point of the groups below names a module; importing it registers what the distribution adds.
"""

import functools
import importlib
import logging
import sys
import traceback
from collections.abc import Container, Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from contextvars import ContextVar
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Protocol, TypeVar

from routing.errors import unknown_name

logger = logging.getLogger(__name__)
METHOD_GROUP = "keyhole.methods"  # modules that register methods and parts
LIMIT_GROUP = "keyhole.limits"
OURS = ("agents", "envs", "flows", "routing")

_may_import = ContextVar("may_import", default=True)
_added: list[tuple[MutableMapping[str, Any], str]] = []


class Registration(Protocol):
    """An entry of a registry."""

    @property
    def module(self) -> str:
        """The module that registered it."""


Entry = TypeVar("Entry", bound=Registration)


def resolve(name: str, group: str, known: Container[str] = ()) -> str:
    """Import whatever must be imported for a name to be registered.

    Args:
        name: `name`, or `module:name`, whose module is imported.
        group: the entry points that are loaded, once, if a name without a module is not known.
        known: the names that are registered.

    Returns:
        The name without its module. It need not be registered.

    Raises:
        ValueError: the module is not found, or raises an exception when it is imported.
    """
    module, colon, bare = name.rpartition(":")
    if colon and not (module and bare):
        raise ValueError(f"{name!r} is not of the form MODULE:NAME")
    if module:
        import_plugin(name, module)
    elif bare not in known and _may_import.get():
        load_entry_points(group)
    return bare


@contextmanager
def without_imports() -> Iterator[None]:
    """Find only what loaded modules register: a record is read without executing the modules that it names."""
    token = _may_import.set(False)
    try:
        yield
    finally:
        _may_import.reset(token)


def look_up(kind: str, name: str, group: str, registry: Mapping[str, Entry], shown: int = 8) -> Entry:
    """Return the entry that a name, perhaps with its module, has in a registry.

    Args:
        kind: the kind of thing, for the error.
        name: `name` or `module:name`.
        group: see `resolve`.
        registry: the registered things by name without module.
        shown: the largest number of names that the error lists.

    Raises:
        ValueError: the module cannot be imported, does not register the name, or the name is unknown.
    """
    bare = resolve(name, group, registry)
    module = name.rpartition(":")[0]
    if module and (bare not in registry or not same_package(registry[bare].module, module)):
        raise ValueError(_not_registered(kind, module, bare, registry))
    if bare in registry:
        return registry[bare]
    error = unknown_name(kind, bare, registry, shown)
    failed = "".join(f"; {line}" for line in load_entry_points(group)) if _may_import.get() else ""
    raise ValueError(f"{error}{failed}") if failed else error


def same_package(one: str, other: str) -> bool:
    """Whether two modules are one, or are in one package."""
    return one.partition(".")[0] == other.partition(".")[0]


def qualified(name: str, module: str) -> str:
    """Return the name that finds an entry in every process: with its module unless that is ours or `__main__`."""
    return name if module.partition(".")[0] in (*OURS, "__main__", "__mp_main__") else f"{module}:{name}"


def add(kind: str, name: str, entry: Entry, registry: MutableMapping[str, Entry]) -> None:
    """Add an entry to a registry.

    Raises:
        ValueError: the name is taken.
    """
    if name in registry:
        raise ValueError(f"{kind} {name!r} is already registered by {registry[name].module}; choose another name")
    registry[name] = entry
    _added.append((registry, name))


def plugin_packages() -> set[str]:
    """Return the top-level packages, other than ours, that have registered something."""
    registered = {registry[name].module for registry, name in _added if name in registry}
    return {module.partition(".")[0] for module in registered} - {"", *OURS}


def import_plugin(name: str, module: str) -> None:
    """Import a module; what it registered before it failed is removed, so that it can be imported again.

    Raises:
        ValueError: the module is not found or raises an exception; the text starts with `name`.
    """
    if not _may_import.get():
        if module in sys.modules:
            return
        raise ValueError(f"{name}: {module} is not imported")
    before = len(_added)
    try:
        importlib.import_module(module)
    except (Exception, SystemExit) as error:
        for registry, added in _added[before:]:
            if added in registry and registry[added].module not in sys.modules:
                del registry[added]
        raise ValueError(f"{name}: {_reason(module, error)}") from error


@functools.cache
def load_entry_points(group: str) -> tuple[str, ...]:
    """Import the modules of a group of entry points, once; return a line for each that cannot be imported."""
    failed = []
    for point in entry_points(group=group):
        try:
            import_plugin(f"entry point {point.name!r} of {distribution_of(point)}", point.module)
        except ValueError as error:
            failed.append(str(error))
            logger.info("%s", error)
    return tuple(failed)


def distribution_of(point: Any) -> str:
    """The name and version of the distribution that declares an entry point."""
    return f"{point.dist.name} {point.dist.version}" if point.dist else "an unknown distribution"


def _not_registered(kind: str, module: str, name: str, registry: Mapping[str, Registration]) -> str:
    """Say that a module registers no such name, which file it is, and who registers the name."""
    file = getattr(sys.modules.get(module), "__file__", None)
    where = f" ({file})" if file else ""
    line = f"module {module!r}{where} registers no {kind} {name!r}"
    if name in registry:
        return f"{line}; {registry[name].module} does: write {qualified(name, registry[name].module)!r}"
    if module.partition(".")[0] in (*OURS, *sys.stdlib_module_names):
        return f"{line}; rename your module: this name is taken"
    own = [known for known, entry in registry.items() if same_package(entry.module, module)]
    return f"{line}; it registers {', '.join(sorted(own))}" if own else f"{line}; it registers none"


def _reason(module: str, error: BaseException) -> str:
    """Describe on one line why a module cannot be imported."""
    if module.endswith(".py"):
        return f"write the module's name without .py: {module.removesuffix('.py')}"
    missing = isinstance(error, ModuleNotFoundError) and error.name
    if missing and (module == missing or module.startswith(f"{missing}.")):
        return f"no module named {missing!r}; is it installed, in the current folder or on PYTHONPATH?"
    text = error.msg if isinstance(error, SyntaxError) else " ".join(str(error).split())
    bodies = [
        (frame.filename, frame.lineno)
        for frame in traceback.extract_tb(error.__traceback__)
        if frame.name == "<module>"
    ]
    file, line = (error.filename, error.lineno) if isinstance(error, SyntaxError) else (bodies or [("", 0)])[-1]
    name = str(getattr(error, "name", "")).partition(".")[0] if isinstance(error, ImportError) else ""
    hidden = name in OURS and any(Path(path).exists() for path in (name, f"{name}.py"))
    hint = f"; keyhole's own package {name} hides yours: rename yours" if hidden else ""
    described = f"{type(error).__name__}: {text}".removesuffix(": ") + (f" ({file}:{line})" if file else "")
    return f"importing {module} failed: {described}{hint}"
