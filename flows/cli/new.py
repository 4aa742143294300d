"""Implements `keyhole new`: writes a world, method, limit or study with its test into the current folder."""

import ast
import keyword
import re
import sys
from collections.abc import Container
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from flows.errors import UserError
from flows.search_path import PACKAGES
from flows.shell import program, shell_command

TEMPLATES = Path(__file__).parent / "templates"
EXAMPLE = "keyhole/DiamondGhost-v0"  # the world in which a method or a limit is checked


class Template(NamedTuple):
    """A module that is copied, and how its copy is used; {name} is that of the module, {title} that of a class."""

    module: str
    check: tuple[str, ...]
    compare: tuple[str, ...]


WORLD = "{name}:mine/{title}-v0"
KINDS = {
    "world": Template("my_world", ("check", WORLD), ("compare", "--env", WORLD, "--preset", "smoke")),
    "method": Template(
        "my_method",
        ("check", EXAMPLE, "--method", "{name}:{name}"),
        ("compare", "--methods", "naive,{name}:{name}", "--preset", "smoke"),
    ),
    "limit": Template(
        "my_limit",
        ("check", EXAMPLE, "--overseer", "{name}:{name}"),
        ("compare", "--methods", "naive,filtering", "--overseer", "{name}:{name}(0.5)", "--preset", "smoke"),
    ),
    "study": Template("my_study", ("study", "run", "{name}:{name}", "--dry-run"), ("study", "run", "{name}:{name}")),
}


def write_template(kind: str, name: str, force: bool) -> None:
    """Writes NAME.py and test_NAME.py into the current folder and prints the next commands.

    Raises:
        UserError: The name is no module's, is taken, or a file exists and `force` is not set.
    """
    template = KINDS[kind]
    sources = {
        Path(f"{prefix}{name}.py"): (TEMPLATES / f"{prefix}{template.module}.py").read_text(encoding="utf-8")
        for prefix in ("", "test_")
    }
    check_name(name, set().union(*map(imported_names, sources.values())))
    check_registered(kind, name)
    existing = [str(path) for path in sources if path.exists()]
    if existing and not force:
        raise UserError(f"{' and '.join(existing)} exists already; choose another name, or replace it with --force")
    try:
        for path, source in sources.items():
            path.write_text(renamed(source, template.module, name), encoding="utf-8")
    except OSError as error:
        raise UserError(f"cannot write {error.filename} ({error.strerror})") from None
    print(f"wrote {' and '.join(map(str, sources))}; next:")
    for words in (template.check, template.compare):
        print("  " + shell_command(*(word.format(name=name, title=title(name)) for word in words)).strip("`"))
    print(f"  {program(Path(sys.executable).name)} -m pytest test_{name}.py")


def check_name(name: str, taken: set[str]) -> None:
    """Raises UserError unless a module of this name can be written and imported.

    Args:
        name: The name of the module.
        taken: Names that the module itself uses.
    """
    if not (name.isidentifier() and name.isascii() and not keyword.iskeyword(name) and title(name).isidentifier()):
        raise UserError(f"{name!r} is not a name for a module; write letters, digits and _, for example my_world")
    owner = _owner(name)
    if owner or name in taken:
        raise UserError(f"{name!r} is the name of {owner or 'something that the module imports'}; choose another name")


def check_registered(kind: str, name: str) -> None:
    """Raises UserError if a method or limit that is not the current folder's has the name."""
    if kind in ("world", "study"):
        return
    import routing

    registered: Container[str] = routing.METHODS if kind == "method" else routing.LIMITS
    if name in registered:
        raise UserError(f"{kind} {name!r} is already registered; choose another name")


def _owner(name: str) -> str:
    """What has a module's name already, other than a file of the current folder; empty if nothing has it."""
    if name in PACKAGES:
        return "a package of keyhole's"
    if name in sys.stdlib_module_names:
        return "a module of the standard library"
    spec = find_spec(name)
    origin = Path(spec.origin) if spec and spec.origin else None
    if origin and origin.resolve().parent != Path.cwd():
        return f"an installed module ({origin})"
    return ""


def title(name: str) -> str:
    """Returns the name of a class: `my_world` becomes `MyWorld`."""
    return "".join(word[:1].upper() + word[1:] for word in name.split("_"))


def renamed(source: str, old: str, new: str) -> str:
    """Returns a template with the name of its module, and of the class named after it, replaced."""
    return re.sub(title(old), title(new), re.sub(old, new, source))


def imported_names(source: str) -> set[str]:
    """Returns the names that a module's imports bind."""
    nodes = [node for node in ast.parse(source).body if isinstance(node, ast.Import | ast.ImportFrom)]
    return {alias.asname or alias.name for node in nodes for alias in node.names}
