"""Converts the Gymnasium spaces of a policy to plain data and back."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from gymnasium import Space
from gymnasium.spaces import Box, Discrete, MultiBinary, MultiDiscrete

Data = dict[str, Any]
LARGEST = 2**24  # entries of an observation


def to_data(space: Space) -> Data:
    """Convert a space to numbers, strings and lists; `from_data` is the inverse.

    Raises:
        ValueError: the kind of the space is not one of `KINDS`.
    """
    kind = type(space).__name__
    if kind not in KINDS:
        raise ValueError(f"a {kind} space cannot be saved; use one of {', '.join(KINDS)}")
    return {"kind": kind, **KINDS[kind][0](space)}


def from_data(data: Mapping[str, Any]) -> Space:
    """Build the space that `to_data` converted.

    Raises:
        ValueError, TypeError, KeyError: the data describes no space.
    """
    return KINDS[data["kind"]][1](data)


def _shape(data: Mapping[str, Any]) -> tuple[int, ...]:
    shape = tuple(int(size) for size in data["shape"])
    if any(size < 1 for size in shape) or np.prod(shape, dtype=object) > LARGEST:
        raise ValueError(f"shape {shape} is not the shape of an observation")
    return shape


def _bound(values: np.ndarray) -> Any:
    """The bounds as nested lists, or as one number if all are equal."""
    return values.ravel()[0].item() if (values == values.ravel()[0]).all() else values.tolist()


def _box(data: Mapping[str, Any]) -> Space:
    shape, dtype = _shape(data), np.dtype(data["dtype"])
    low, high = (np.broadcast_to(np.asarray(data[name], dtype), shape) for name in ("low", "high"))
    return Box(low, high, shape, dtype.type)


def _box_data(space: Any) -> Data:
    bounds = {"low": _bound(space.low), "high": _bound(space.high)}
    return {"shape": list(space.shape), "dtype": space.dtype.name, **bounds}


def _discrete_data(space: Any) -> Data:
    return {"n": int(space.n), "start": int(space.start)}


def _multi_discrete_data(space: Any) -> Data:
    """The dtype is stored only if it is not Gymnasium's default."""
    dtype = {} if space.dtype == np.int64 else {"dtype": space.dtype.name}
    return {"nvec": space.nvec.tolist(), **dtype}


def _multi_discrete(data: Mapping[str, Any]) -> Space:
    return MultiDiscrete(data["nvec"], dtype=np.dtype(data.get("dtype", "int64")).type)


def _multi_binary(data: Mapping[str, Any]) -> Space:
    """Gymnasium distinguishes a size (a number) from a shape (a list)."""
    return MultiBinary(int(data["shape"]) if np.ndim(data["shape"]) == 0 else _shape(data))


KINDS: dict[str, tuple[Callable[[Any], Data], Callable[[Mapping[str, Any]], Space]]] = {
    "Box": (_box_data, _box),
    "Discrete": (_discrete_data, lambda data: Discrete(data["n"], start=data["start"])),
    "MultiBinary": (lambda space: {"shape": np.asarray(space.n).tolist()}, _multi_binary),
    "MultiDiscrete": (_multi_discrete_data, _multi_discrete),
}
