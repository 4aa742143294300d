"""Registry of oversight methods. A method is a short name for a composition of parts.

`find` reads a name, or a name with parts replaced: `naive(weights=ipw(10),baseline=none)`.
"""

import functools
import sys
from dataclasses import dataclass

from routing.errors import unknown_name
from routing.oversight.composition import Composition, compose
from routing.oversight.grammar import parse_name, split_outside
from routing.oversight.parts import KINDS
from routing.oversight.plugins import METHOD_GROUP, add, look_up

EARLIER: dict[str, str] = {  # names of earlier versions -> what they were
    "gradient_routing_paper": "gradient_routing(baseline=unjudged)",
    "gradient_routing_ablated": "gradient_routing_weighted(level=forward_ablated)",
    "gradient_routing_adapter": "gradient_routing_weighted(network=adapters,level=parameter,gate_loss=none)",
}


@dataclass(frozen=True)
class Registered:
    """A registered method."""

    name: str
    summary: str
    composition: Composition
    module: str = ""
    """the module that registered it"""


METHODS: dict[str, Registered] = {}


def method(name: str, summary: str, base: str = "", **parts: str) -> Composition:
    """Register a method.

    Args:
        name: of the method.
        summary: one line for `keyhole methods`.
        base: the method whose other parts it has; by default the default part of each kind.
        **parts: kind -> part, as a user writes it: `weights="ipw(10)"`.

    Returns:
        Its composition.

    Raises:
        ValueError: the name is taken, a part is unknown, or the parts do not hold together.
    """
    for kind in parts:
        if kind not in KINDS:
            raise unknown_name("kind of part", kind, KINDS)
    composition = compose(find(base) if base else None, parts)
    module = sys._getframe(1).f_globals.get("__name__", "")
    add("method", name, Registered(name, summary, composition, module), METHODS)
    find.cache_clear()
    return composition


@functools.cache
def find(text: str) -> Composition:
    """Return the composition of a method, as a user writes it: `name` or `name(part=value,...)`.

    A name may have a module that registers it: `my_module:my_method`.

    Raises:
        ValueError: the text is not of that form, a module cannot be imported, a name is unknown, or the parts do not
            hold together.
    """
    name, changes = method_parts(text)
    if name in EARLIER and name not in METHODS:
        return compose(find(EARLIER[name]), changes)
    composition = look_up("method", name, METHOD_GROUP, METHODS, shown=len(METHODS)).composition
    try:
        return compose(composition, changes) if changes else composition
    except ValueError as error:
        raise ValueError(f"{text}: {error}") from None


def method_parts(text: str) -> tuple[str, dict[str, str]]:
    """Split `name(part=value,...)` into the name and the parts that it replaces.

    Raises:
        ValueError: the text is not of that form, a kind of part is unknown, or one is set twice.
    """
    name, items = parse_name(text)
    changes: dict[str, str] = {}
    for item in items:
        kind, equals, value = (piece.strip() for piece in item.partition("="))
        if not (equals and kind and value):
            raise ValueError(f"{text!r}: {item!r} is not of the form PART=VALUE; one of {', '.join(KINDS)}")
        if kind not in KINDS:
            raise unknown_name("kind of part", kind, KINDS, shown=len(KINDS))
        if kind in changes:
            raise ValueError(f"{text!r} sets {kind} twice")
        split_outside(value, "+")
        changes[kind] = value
    return name, changes


def differing_parts(first: str, second: str) -> dict[str, tuple[str, str]]:
    """Return the parts in which two methods differ: kind -> (the first's, the second's).

    Raises:
        ValueError: a method is unknown.
    """
    pairs = zip(find(first).names, find(second).names, strict=True)
    return {kind: (one, other) for (kind, one), (_, other) in pairs if one != other}
