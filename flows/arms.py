"""An arm of a comparison is a method, perhaps in a world that differs: "filtering@knowledge=blind"."""

import json
from typing import Any, NamedTuple

MARK = "@"


class Arm(NamedTuple):
    """What an arm trains, and where."""

    method: str
    env_kwargs: dict[str, Any]
    """arguments of the world that replace the sweep's"""


def parse_arm(name: str) -> Arm:
    """The arm of that name; raises ValueError where something after a method is no argument."""
    method, *arguments = name.split(MARK)
    return Arm(method, dict(parse_argument(text) for text in arguments))


def parse_argument(text: str) -> tuple[str, Any]:
    """NAME=VALUE, the value JSON or else text; raises ValueError."""
    name, equals, value = text.partition("=")
    if not equals or not name.strip():
        raise ValueError(f"{text!r} is no NAME=VALUE; write for example size=5")
    try:
        return name.strip(), json.loads(value)
    except json.JSONDecodeError:
        return name.strip(), value


def check_arms(names: tuple[str, ...]) -> tuple[str, ...]:
    """The same; raises ValueError for a name that is of no arm."""
    for name in names:
        parse_arm(name)
    return names
