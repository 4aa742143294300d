"""Lists registered and written things by origin: keyhole, installed distributions, and files of the current folder.

Modules of installed distributions are imported, as their entry points ask for. Files of the current folder are parsed
and not imported: one may be a script that trains for hours.
"""

import ast
import sys
import textwrap
from collections.abc import Callable, Iterable, Iterator
from importlib.metadata import entry_points, packages_distributions, version
from pathlib import Path
from typing import NamedTuple

import click

from flows.search_path import PACKAGES
from flows.text import one_line, printable

OURS = "keyhole"


class Entry(NamedTuple):
    """A world, method, part or limit, as a user names it."""

    name: str
    text: str
    origin: str


def print_by_origin(entries: Iterable[Entry]) -> None:
    """Prints the entries under a heading for each origin, keyhole first."""
    groups: dict[str, dict[str, str]] = {OURS: {}}
    for entry in sorted(entries):
        groups.setdefault(entry.origin, {})[f"  {entry.name}"] = entry.text
    for origin, group in groups.items():
        if group:
            print(f"from {origin}:")
            print_list(group)


def print_list(entries: dict[str, str]) -> None:
    """Prints names and what they are, in two columns."""
    width = max(map(len, entries)) + 2
    for name, text in entries.items():
        print(textwrap.fill(name.ljust(width) + text, 110, subsequent_indent=" " * width))
    click.echo(nl=False)


def print_failures(lines: Iterable[str]) -> None:
    """Prints a line for each module of an installed distribution that cannot be imported."""
    for line in lines:
        print(f"keyhole: {printable(line)}", file=sys.stderr)


def origin(module: str) -> str:
    """Returns where a loaded module comes from: "keyhole", a distribution with its version, or a file."""
    package = module.partition(".")[0]
    if package in PACKAGES:
        return OURS
    for group in ("keyhole.worlds", "keyhole.methods", "keyhole.limits"):
        for point in entry_points(group=group):
            if point.module.partition(".")[0] == package and point.dist:
                return f"{point.dist.name} {point.dist.version}"
    if owners := packages_distributions().get(package):
        return f"{owners[0]} {version(owners[0])}"
    file = getattr(sys.modules.get(module), "__file__", None)
    if file is None:
        return module
    path, current = Path(file).resolve(), Path.cwd()
    return str(path.relative_to(current)) if path.is_relative_to(current) else str(path)


def local_worlds() -> list[Entry]:
    """Lists the worlds that files of the current folder register by `register` of `envs`."""
    return list(_found(_worlds))


def local_methods() -> list[Entry]:
    """Lists the methods that files of the current folder register by `method` of `routing`."""
    return list(_found(_methods))


def local_parts(kind: str) -> list[Entry]:
    """Lists the parts of a kind that files of the current folder register by `part` of `routing`."""
    return list(_found(lambda tree, names: _decorated(tree, names, "part", kind)))


def local_limits() -> list[Entry]:
    """Lists the limits of the overseer that files of the current folder register by `limit` of `routing`."""
    return list(_found(lambda tree, names: _decorated(tree, names, "limit")))


Names = dict[str, str]  # a file's name of something that it imports from a package of ours -> its name there
Finder = Callable[[ast.Module, Names], Iterator[tuple[str, str]]]


def _found(finder: Finder) -> Iterator[Entry]:
    for path in sorted(Path.cwd().glob("*.py")):
        try:
            tree = ast.parse(path.read_bytes())
        except (OSError, SyntaxError, ValueError):
            continue  # the command that uses the file explains what is wrong with it
        names = dict(_imported(tree))
        for name, text in finder(tree, names) if names else ():
            yield Entry(f"{path.stem}:{name}", one_line(text), path.name)


def _imported(tree: ast.Module) -> Iterator[tuple[str, str]]:
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] in PACKAGES:
            yield from ((alias.asname or alias.name, alias.name) for alias in node.names)
        if isinstance(node, ast.Import):
            packages = [alias.name for alias in node.names if alias.name in PACKAGES and not alias.asname]
            yield from (
                (f"{name}.{what}", what) for name in packages for what in ("register", "method", "part", "limit")
            )


def _called(node: ast.expr, names: Names) -> str:
    """The name, in our package, of what an expression calls or is."""
    return names.get(ast.unparse(node.func if isinstance(node, ast.Call) else node), "")


def _constant(call: ast.Call, position: int, name: str, default: object = "") -> str:
    """An argument that is written out."""
    given = [keyword.value for keyword in call.keywords if keyword.arg == name] + call.args[position : position + 1]
    return str(given[0].value) if given and isinstance(given[0], ast.Constant) else str(default)


def _methods(tree: ast.Module, names: Names) -> Iterator[tuple[str, str]]:
    for node in tree.body:
        call = getattr(node, "value", None)
        if isinstance(call, ast.Call) and _called(call, names) == "method":
            yield _constant(call, 0, "name"), _constant(call, 1, "summary")


def _worlds(tree: ast.Module, names: Names) -> Iterator[tuple[str, str]]:
    text = (ast.get_docstring(tree) or "").partition("\n\n")[0]
    for node in tree.body:
        call = getattr(node, "value", None)
        if isinstance(node, ast.ClassDef) and any(_called(one, names) == "register" for one in node.decorator_list):
            yield f"keyhole/{node.name}-v0", text
        if isinstance(call, ast.Call) and call.args and _called(call, names) == "register":
            namespace, number = _constant(call, 1, "namespace", "keyhole"), _constant(call, 2, "version", 0)
            yield f"{namespace}/{ast.unparse(call.args[0])}-v{number}", text


def _decorated(tree: ast.Module, names: Names, decorator: str, kind: str = "") -> Iterator[tuple[str, str]]:
    for node in tree.body:
        if not isinstance(node, ast.FunctionDef | ast.ClassDef):
            continue
        for one in node.decorator_list:
            call = one if isinstance(one, ast.Call) else ast.Call(one, [], [])
            if _called(one, names) == decorator and kind in ("", _constant(call, 0, "kind")):
                name = _constant(call, 1, "name") if kind else _constant(call, 0, "name")
                yield name or node.name, (ast.get_docstring(node) or "").partition("\n\n")[0]
