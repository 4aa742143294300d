"""Validation of user-supplied arguments; every refusal is a ValueError of one line."""

import difflib
import math
import operator
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np


def unknown_name(kind: str, word: Any, known: Iterable[str]) -> str:
    """The error line for an unknown name.

    Args:
        kind: what the name stands for, such as "regime".
        word: the name that was given.
        known: the names that exist.

    Returns:
        "unknown KIND 'WORD'; did you mean 'X'? one of A, B, C", without the question if no known name is close.
    """
    names = list(known)
    close = difflib.get_close_matches(str(word), names, n=1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    return f"unknown {kind} {word!r}; {hint}one of {', '.join(names)}"


def choice(name: str, value: Any, known: Sequence[str]) -> str:
    """Returns value if it is one of the known names; raises ValueError with the nearest name otherwise."""
    if value not in known:
        raise ValueError(unknown_name(name, value, known))
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
    """Returns value as a bool; raises ValueError unless it is True or False."""
    if not isinstance(value, bool | np.bool_):
        raise ValueError(f"{name} must be True or False, found {value!r}")
    return bool(value)


def _number(name: str, value: Any, convert: Any) -> Any:
    try:
        return convert(value)
    except (TypeError, ValueError):
        kind = "a whole number" if convert is operator.index else "a number"
        raise ValueError(f"{name} must be {kind}, found {value!r}") from None
