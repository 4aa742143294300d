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


def whole(name: str, value: Any, least: int, most: int) -> int:
    """Returns value as an int from `least` to `most`; raises ValueError otherwise."""
    number = _number(name, value, operator.index)
    if not least <= number <= most:
        raise ValueError(f"{name} must be from {least} to {most}, found {value!r}")
    return number


def between(name: str, value: Any, least: float, most: float) -> float:
    """Returns value as a float from `least` to `most`; raises ValueError otherwise."""
    number = _number(name, value, float)
    if not least <= number <= most:
        raise ValueError(f"{name} must be from {least:g} to {most:g}, found {value!r}")
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


def seed(value: Any, num_envs: int) -> int | list[int] | None:
    """Checks a seed of a vector environment.

    Args:
        value: None, an integer of 0 or more, or one for each copy.
        num_envs: N.

    Returns:
        None, an int, or a list of N ints; None if every seed of the list is None.

    Raises:
        ValueError: value is anything else.
    """
    if value is None:
        return None
    if not isinstance(value, list | tuple | np.ndarray) or np.ndim(value) == 0:
        return at_least("seed", value, 0)
    if len(value) != num_envs:
        raise ValueError(f"seed must be an integer or a list of {num_envs} integers, found {len(value)} values")
    if all(each is None for each in value):
        return None
    return [at_least("seed", each, 0) for each in value]


def reset_mask(value: Any, num_envs: int) -> np.ndarray:
    """Returns a mask of the copies to reset, (N,) bool with at least one True; raises ValueError otherwise."""
    mask = np.asarray(value)
    if mask.dtype != np.bool_ or mask.shape != (num_envs,) or not mask.any():
        found = f"{mask.dtype} of shape {mask.shape}" + ("" if mask.any() else ", all False")
        raise ValueError(f"reset_mask must be {num_envs} booleans, at least one of them True, found {found}")
    return mask


def _number(name: str, value: Any, convert: Any) -> Any:
    try:
        return convert(value)
    except (TypeError, ValueError):
        kind = "a whole number" if convert is operator.index else "a number"
        raise ValueError(f"{name} must be {kind}, found {value!r}") from None
