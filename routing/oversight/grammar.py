"""The grammar of everything that a user composes: `name(part=value,...)`, with arguments of a world behind `@`.

    arm        naive(weights=ipw(10),baseline=none)@knowledge=blind
    method     naive(weights=ipw(10),baseline=none)
    part       ipw(10)  or  ipw(cap=10)
    several    whole+early_stopping

A value is read as JSON, and as text if it is not valid JSON. Lists are split outside brackets and quotes only. Nothing
is looked up here: names are checked by whoever knows them.
"""

import json
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

HINT = "write NAME(PART=VALUE,...), for example naive(weights=ipw(10))"
BRACKETS = {"(": ")", "[": "]", "{": "}"}
NAME = re.compile(r"[A-Za-z_][\w.:-]*")


class Call(NamedTuple):
    """A name with arguments, such as `ipw(10)`."""

    name: str
    args: tuple[Any, ...] = ()
    kwargs: tuple[tuple[str, Any], ...] = ()

    def __str__(self) -> str:
        inner = [*map(_written, self.args), *(f"{name}={_written(value)}" for name, value in self.kwargs)]
        return f"{self.name}({','.join(inner)})" if inner else self.name


def split_outside(text: str, separator: str) -> list[str]:
    """Split text at a separator that is outside of brackets and double quotes; pieces are stripped.

    Raises:
        ValueError: a bracket or quote is not closed, or a closing bracket has no partner.
    """
    pieces, start = [], 0
    for position in _outside(text):
        if text[position] == separator:
            pieces.append(text[start:position].strip())
            start = position + 1
    return [*pieces, text[start:].strip()]


def parse_call(text: str) -> Call:
    """Parse `name` or `name(value,...,name=value,...)`. Values are read as JSON, or kept as text.

    Raises:
        ValueError: the text has another form.
    """
    name, items = parse_name(text)
    args: list[Any] = []
    kwargs: dict[str, Any] = {}
    for item in items:
        key, value = parse_assignment(item) if "=" in item else ("", _value(item))
        if key in kwargs:
            raise ValueError(f"{text!r} sets {key} twice")
        if not key and kwargs:
            raise ValueError(f"{text!r} has {item!r} after a named argument; name it too")
        if key:
            kwargs[key] = value
        else:
            args.append(value)
    return Call(name, tuple(args), tuple(sorted(kwargs.items())))


def parse_name(text: str) -> tuple[str, list[str]]:
    """Split `name(item,...)` into the name and its items, which are not parsed.

    Raises:
        ValueError: the text has another form.
    """
    head, bracket, rest = text.strip().partition("(")
    split_outside(text, ",")  # raises for brackets that do not match
    if not NAME.fullmatch(head.strip()):
        raise ValueError(f"{text!r} has no name before its arguments; {HINT}" if bracket else f"{text!r}: {HINT}")
    if not bracket:
        return head.strip(), []
    if not rest.endswith(")"):
        raise ValueError(f"{text!r} has text after its closing bracket; {HINT}")
    items = split_outside(rest[:-1], ",") if rest[:-1].strip() else []
    if not all(items):
        raise ValueError(f"{text!r} has an empty argument; {HINT}")
    return head.strip(), items


def parse_assignment(text: str) -> tuple[str, Any]:
    """Parse NAME=VALUE.

    Raises:
        ValueError: the text has another form.
    """
    name, equals, value = text.partition("=")
    if not equals or not name.strip():
        raise ValueError(f"{text!r} is not of the form NAME=VALUE; write for example size=5")
    return name.strip(), _value(value)


def _outside(text: str) -> Iterator[int]:
    """Yield the positions of characters outside of brackets and quotes."""
    expected: list[str] = []
    quoted = False
    for position, character in enumerate(text):
        if character == '"' and not (quoted and text[position - 1] == "\\"):
            quoted = not quoted
        elif not quoted and character in BRACKETS:
            expected.append(BRACKETS[character])
        elif not quoted and character in BRACKETS.values():
            if not expected or expected.pop() != character:
                raise ValueError(f"{text!r} has {character!r} without its opening bracket; {HINT}")
        elif not expected and not quoted:
            yield position
    if expected or quoted:
        raise ValueError(f"{text!r} lacks a closing {expected[-1] if expected else chr(34)!r}; {HINT}")


def _value(text: str) -> Any:
    """Read a value as JSON, or keep it as text; the items of a list are read likewise, so words need no quotes."""
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        text = text.strip()
    if len(text) > 2 and text[0] == "[" and text[-1] == "]":
        return [_value(item) for item in split_outside(text[1:-1], ",")]
    return text


def _written(value: Any) -> str:
    """Write a value so that it is read back; numbers in their shortest form, 10 for 10.0."""
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    if isinstance(value, list | tuple) and value and all(map(_is_word, value)):
        return f"[{','.join(value)}]"
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))


def _is_word(value: Any) -> bool:
    """Whether a value is a text that is read back without quotes."""
    return isinstance(value, str) and NAME.fullmatch(value) is not None and _value(value) == value
