"""Arms. An arm is a method, optionally with other parts and other environment arguments.

    naive(weights=ipw(10),baseline=none)@knowledge=blind

`routing.oversight.grammar` states the grammar. It is imported inside functions, because importing routing imports
torch, which help texts do without.
"""

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

MARK = "@"


class Arm(NamedTuple):
    """A method and the environment arguments in which it differs from the sweep."""

    method: str
    env_kwargs: dict[str, Any]
    """Environment arguments that replace those of the sweep."""


def parse_arm(name: str) -> Arm:
    """Splits an arm's name into its method and arguments.

    Raises:
        ValueError: The name is not of the form METHOD(PART=VALUE,...)@NAME=VALUE, or names an unknown kind of part.
    """
    from routing.oversight.grammar import parse_assignment, split_outside
    from routing.oversight.registry import method_parts

    method, *arguments = split_outside(name, MARK)
    method_parts(method)
    return Arm(method, dict(map(parse_assignment, arguments)))


def parse_argument(text: str) -> tuple[str, Any]:
    """Parses NAME=VALUE. The value is read as JSON, and kept as text if it is not valid JSON.

    Raises:
        ValueError: `text` is not of the form NAME=VALUE.
    """
    from routing.oversight.grammar import parse_assignment

    return parse_assignment(text)


def split_list(text: str) -> tuple[str, ...]:
    """Splits a list at commas outside of brackets and quotes, without empty items.

    Raises:
        ValueError: A bracket or quote is not closed.
    """
    from routing.oversight.grammar import split_outside

    return tuple(filter(None, split_outside(text, ",")))


def check_arms(names: tuple[str, ...]) -> tuple[str, ...]:
    """Returns `names` unchanged; raises ValueError if one is not the name of an arm."""
    for name in names:
        parse_arm(name)
    return names


def check_method(name: str) -> str:
    """Returns `name` unchanged; raises ValueError if it is not of the form METHOD(PART=VALUE,...)."""
    if parse_arm(name).env_kwargs:
        raise ValueError(f"{name!r} changes the environment; use --set NAME=VALUE for one run")
    return name


def base_method(row: str) -> str:
    """The name of the method of an arm or of a row, without parts, arguments and deployment rule."""
    match = re.match(r"[^(@/]*", row)
    return match[0] if match else row


def with_controls(names: Sequence[str]) -> tuple[str, ...]:
    """Returns the arms followed by their attribution controls, without arms that are there already.

    Raises:
        ValueError: A method is unknown.
    """
    from routing.oversight.controls import controls

    found = list(names)
    for name in names:
        method = parse_arm(name).method
        found += [control + name.strip().removeprefix(method) for control in controls(method)]
    distinct: dict[Any, str] = {}
    for name in found:
        distinct.setdefault(_training(name, deploys=True), name)
    return tuple(distinct.values())


def trained_once(names: Sequence[str]) -> dict[str, str]:
    """Groups arms that differ in deployment rules alone, so that their policy is trained once.

    Args:
        names: The arms.

    Returns:
        The first arm of each group -> its method, with the deployment rules of the whole group.
    """
    groups: dict[Any, list[str]] = {}
    for name in names:
        groups.setdefault(_training(name), []).append(name)
    return {group[0]: _with_rules(group) for group in groups.values()}


def same_arms(names: Sequence[str]) -> tuple[str, str] | None:
    """Returns two arms that are the same composition in the same world, or None."""
    seen: dict[Any, str] = {}
    for name in names:
        key = _training(name, deploys=True)
        if key in seen:
            return seen[key], name
        seen[key] = name
    return None


def _training(name: str, deploys: bool = False) -> Any:
    """What trains the policy of an arm, and optionally its deployment rules, as a key.

    The key of a method that is not registered in this process is its text: a sweep is read without its environment and
    without the modules that its methods name.
    """
    from routing import find
    from routing.oversight.plugins import without_imports
    from routing.oversight.registry import method_parts

    method, arguments = parse_arm(name)
    world = repr(sorted(arguments.items()))
    try:
        with without_imports():
            composition = find(method)
    except ValueError:
        base, changes = method_parts(method)
        return base, tuple(sorted(pair for pair in changes.items() if deploys or pair[0] != "deploy")), world
    return composition.names if deploys else composition.training, world


def _with_rules(group: Sequence[str]) -> str:
    """The method of the first arm, with the deployment rules of all; as it is if it is not registered."""
    from routing import find
    from routing.oversight.controls import with_parts
    from routing.oversight.plugins import without_imports

    method = parse_arm(group[0]).method
    if len(group) == 1:
        return method
    try:
        with without_imports():
            compositions = [find(parse_arm(name).method) for name in group]
            rules = dict.fromkeys(bound.name for found in compositions for bound in found.parts["deploy"])
            return with_parts(method, {"deploy": "+".join(rules)})
    except ValueError:
        return method
