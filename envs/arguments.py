"""A world's arguments come from users: each is checked where it enters, and refused with one line."""

import difflib
import math
import operator
from collections.abc import Sequence
from typing import Any

import numpy as np


def nearest_hint(name: str, known: Sequence[str]) -> str:
    """The tail of an error line: the nearest known name, if one is near, and all of them."""
    close = difflib.get_close_matches(str(name), known, n=1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    return f"{hint}one of {list(known)}"


def choice(name: str, value: Any, known: Sequence[str]) -> str:
    """Returns value, one of the known names; raises ValueError naming the nearest."""
    if value not in known:
        raise ValueError(f"unknown {name} {value!r}; {nearest_hint(value, known)}")
    return value


def probability(name: str, value: Any) -> float:
    """Returns value as a float in [0, 1]; raises ValueError otherwise."""
    number = _number(name, value, float)
    if not 0 <= number <= 1:
        raise ValueError(f"{name} must be a probability between 0 and 1, found {value!r}")
    return number


def at_least(name: str, value: Any, least: int) -> int:
    """Returns value as an int of at least `least`; raises ValueError otherwise."""
    number = _number(name, value, operator.index)
    if number < least:
        raise ValueError(f"{name} must be at least {least}, found {value!r}")
    return number


def finite(name: str, value: Any) -> float:
    """Returns value as a finite float; raises ValueError otherwise."""
    number = _number(name, value, float)
    if not math.isfinite(number):
        raise ValueError(f"{name} must be a finite number, found {value!r}")
    return number


def switch(name: str, value: Any) -> bool:
    """Returns value, True or False; raises ValueError otherwise."""
    if not isinstance(value, bool | np.bool_):
        raise ValueError(f"{name} must be True or False, found {value!r}")
    return bool(value)


def _number(name: str, value: Any, convert: Any) -> Any:
    try:
        return convert(value)
    except (TypeError, ValueError):
        kind = "a whole number" if convert is operator.index else "a number"
        raise ValueError(f"{name} must be {kind}, found {value!r}") from None
