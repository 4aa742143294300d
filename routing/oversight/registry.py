"""Registry of oversight methods. A method is a short name for a composition of parts.

`find` reads a name, or a name with parts replaced: `naive(weights=ipw(10),baseline=none)`. A method may declare one
kind of part as its shorthand. Arguments without a kind are then those of its part of this kind, whose other arguments
stay: `penalty(2)` is `penalty(reward=penalty(2))`.
"""

import functools
import sys
from dataclasses import dataclass

from routing.errors import unknown_name
from routing.oversight.composition import Composition, compose
from routing.oversight.grammar import Call, parse_call, parse_name, split_outside
from routing.oversight.parts import KINDS
from routing.oversight.plugins import METHOD_GROUP, add, look_up, qualified

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
    shorthand: str = ""
    """the kind of part whose arguments may be given without the part"""

    @property
    def options(self) -> tuple[str, ...]:
        """The names of the arguments that may be given without a part."""
        return tuple(self.composition.only(self.shorthand).part.parameters) if self.shorthand else ()


METHODS: dict[str, Registered] = {}
UNREAD = ""  # the kind of the arguments of a shorthand of a method that is not registered yet


def method(name: str, summary: str, base: str = "", shorthand: str = "", **parts: str) -> Composition:
    """Register a method.

    Args:
        name: of the method.
        summary: one line for `keyhole methods`.
        base: the method whose other parts it has; by default the default part of each kind.
        shorthand: the kind of part whose arguments may be given without the part: with "reward", `penalty(2)` means
            `penalty(reward=penalty(2))`.
        **parts: kind -> part, as a user writes it: `weights="ipw(10)"`.

    Returns:
        Its composition.

    Raises:
        ValueError: the name is taken, a kind or a part is unknown, or the parts do not hold together.
    """
    for kind in (*parts, *filter(None, [shorthand])):
        if kind not in KINDS:
            raise unknown_name("kind of part", kind, KINDS)
    composition = compose(find(base) if base else None, parts)
    module = sys._getframe(1).f_globals.get("__name__", "")
    add("method", name, Registered(name, summary, composition, module, shorthand), METHODS)
    find.cache_clear()
    return composition


@functools.cache
def find(text: str) -> Composition:
    """Return the composition of a method, as a user writes it: `name`, `name(part=value,...)` or a shorthand.

    A name may have a module that registers it: `my_module:my_method`.

    Raises:
        ValueError: the text is not of that form, a module cannot be imported, a name is unknown, or the parts do not
            hold together.
    """
    name, changes = method_parts(text)
    if name in EARLIER and name not in METHODS:
        return compose(find(EARLIER[name]), changes)
    composition = look_up("method", name, METHOD_GROUP, METHODS, shown=len(METHODS)).composition
    if UNREAD in changes:
        name, changes = method_parts(text)  # the look-up has registered the method
    try:
        return compose(composition, changes) if changes else composition
    except ValueError as error:
        raise ValueError(f"{text}: {error}") from None


def method_parts(text: str) -> tuple[str, dict[str, str]]:
    """Split `name(part=value,...)`, or a shorthand, into the name and the parts that it replaces.

    Returns:
        The name, and kind -> part. The arguments of a shorthand of a method that is not registered have the kind "".

    Raises:
        ValueError: the text is not of that form, a kind of part is unknown, or one is set twice.
    """
    name, items = parse_name(text)
    registered = METHODS.get(name.rpartition(":")[2])
    bare = [item for item in items if _is_bare(item, registered)] if name not in EARLIER else []
    changes: dict[str, str] = {}
    if bare and registered:
        changes[registered.shorthand] = _part_of_shorthand(registered, bare)
    elif bare:
        changes[UNREAD] = ",".join(bare)
    for item in items:
        if item in bare:
            continue
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


def _is_bare(item: str, registered: Registered | None) -> bool:
    """Whether an argument of a method is one of the part that its shorthand names, or may be if it is not known yet."""
    name, equals, _ = (piece.strip() for piece in item.partition("="))
    if registered is None:
        return not equals
    return bool(registered.shorthand) and (not equals or (name in registered.options and name not in KINDS))


def _part_of_shorthand(registered: Registered, bare: list[str]) -> str:
    """Write the part that the arguments of a shorthand mean: the method's own with these arguments replaced."""
    own = registered.composition.only(registered.shorthand)
    given = parse_call(f"{registered.name}({','.join(bare)})")
    set_here = {*registered.options[: len(given.args)], *dict(given.kwargs)}
    others = {name: value for name, value in own.values if name not in set_here}
    named = sorted((others | dict(given.kwargs)).items())
    return str(Call(qualified(own.part.name, own.part.module), given.args, tuple(named)))


def differing_parts(first: str, second: str) -> dict[str, tuple[str, str]]:
    """Return the parts in which two methods differ: kind -> (the first's, the second's).

    Raises:
        ValueError: a method is unknown.
    """
    pairs = zip(find(first).names, find(second).names, strict=True)
    return {kind: (one, other) for (kind, one), (_, other) in pairs if one != other}
