"""Parses arms. An arm is a method, optionally with other environment arguments: "filtering@knowledge=blind"."""

import json
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
        ValueError: A part after the method is not of the form NAME=VALUE.
    """
    method, *arguments = name.split(MARK)
    return Arm(method, dict(parse_argument(text) for text in arguments))


def parse_argument(text: str) -> tuple[str, Any]:
    """Parses NAME=VALUE. The value is read as JSON, and kept as text if it is not valid JSON.

    Raises:
        ValueError: `text` is not of the form NAME=VALUE.
    """
    name, equals, value = text.partition("=")
    if not equals or not name.strip():
        raise ValueError(f"{text!r} is not of the form NAME=VALUE; write for example size=5")
    try:
        return name.strip(), json.loads(value)
    except json.JSONDecodeError:
        return name.strip(), value


def check_arms(names: tuple[str, ...]) -> tuple[str, ...]:
    """Returns `names` unchanged; raises ValueError if one is not the name of an arm."""
    for name in names:
        parse_arm(name)
    return names
