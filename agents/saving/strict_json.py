"""Parses JSON from a file that may be malicious: stricter than the json module, and every refusal is a ValueError."""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

DEPTH = 32  # levels of nesting
TEXT = 10_000  # characters of a string
LARGEST = 2**64  # absolute value of an integer


def parse_json(content: bytes) -> Any:
    """Parse UTF-8 JSON.

    Raises:
        ValueError: the content is not valid JSON, repeats a key, or has a value that `check_values` refuses.
    """
    try:
        value = json.loads(content.decode(), object_pairs_hook=_unique, parse_constant=_not_a_number)
    except RecursionError:
        raise ValueError(f"it is nested deeper than {DEPTH} levels") from None
    check_values(value)
    return value


def check_values(value: Any) -> None:
    """Check every value in nested lists and dictionaries, at any depth.

    Raises:
        ValueError: a number is not finite or is too large, a string is too long or cannot be encoded, or the nesting is
            too deep.
    """
    level = [value]
    for _ in range(DEPTH):
        for item in level:
            _check_scalar(item)
        level = [inner for item in level for inner in _inner_values(item)]
        if not level:
            return
    raise ValueError(f"it is nested deeper than {DEPTH} levels")


def _inner_values(value: Any) -> Sequence[Any]:
    if isinstance(value, Mapping):
        return [*value.keys(), *value.values()]
    return value if isinstance(value, list | tuple) else ()


def _check_scalar(value: Any) -> None:
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"the number {value} is not finite")
    if isinstance(value, int) and abs(value) > LARGEST:
        raise ValueError(f"an integer of {value.bit_length()} bits is too large")
    if isinstance(value, str):
        if len(value) > TEXT:
            raise ValueError(f"a string of {len(value)} characters is longer than {TEXT}")
        if any("\ud800" <= letter <= "\udfff" for letter in value):
            raise ValueError(f"the string {value[:40]!r} is not valid Unicode")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {twice[:40]!r} occurs twice")
    return found


def _not_a_number(text: str) -> None:
    raise ValueError(f"{text} is not a JSON number")
