"""Converts the Gymnasium spaces of a policy to plain data and back."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from gymnasium import Space
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete, flatdim

from agents.saving.manifest import check_keys, integer, of_type, one_of

Data = dict[str, Any]
LARGEST = 2**22  # features of an observation or an action
MAX_AXES = 8
MAX_ENTRIES = 1000  # of a Dict
INTEGERS = tuple(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64))
DTYPES = (*INTEGERS, "float16", "float32", "float64")
INFINITE = {"inf": math.inf, "-inf": -math.inf}  # JSON has no infinite numbers


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
        ValueError: the data describes no space, or one with more than `LARGEST` features.
    """
    kind = one_of("kind of a space", of_type("a space", data, dict).get("kind"), KINDS)
    return KINDS[kind][1]({name: value for name, value in data.items() if name != "kind"})


def _shape(value: Any) -> tuple[int, ...]:
    if len(of_type("a shape", value, list)) > MAX_AXES:
        raise ValueError(f"a shape has {len(value)} axes, more than {MAX_AXES}")
    shape = tuple(integer("a size in a shape", size, 1, LARGEST) for size in value)
    if math.prod(shape) > LARGEST:
        raise ValueError(f"a space of shape {shape} is larger than {LARGEST}")
    return shape


def _bound_data(values: np.ndarray) -> Any:
    """The bounds as a flat list, or as one number if all are equal; an infinite one is a string."""
    names = {number: name for name, number in INFINITE.items()}
    flat = [names.get(value, value) for value in values.ravel().tolist()]
    return flat[0] if flat.count(flat[0]) == len(flat) else flat


def _bound(name: str, value: Any, shape: tuple[int, ...], dtype: str) -> np.ndarray:
    """(*shape) bounds; exactly the numbers of the data."""
    values = np.array(value, object).ravel()
    numbers = [INFINITE.get(entry) if isinstance(entry, str) else entry for entry in values]
    if len(numbers) not in (1, math.prod(shape)) or any(type(number) not in (int, float) for number in numbers):
        raise ValueError(f"{name} of a Box is neither a number nor one number for each of its entries")
    with np.errstate(all="ignore"):
        bound = np.array(numbers, dtype)
    if bound.tolist() != numbers:
        raise ValueError(f"{name} of a Box has a number that is not of dtype {dtype}")
    return np.broadcast_to(bound.reshape(shape if len(numbers) > 1 else ()), shape)


def _box(data: Data) -> Space:
    check_keys("a Box", data, ("shape", "dtype", "low", "high"))
    shape, dtype = _shape(data["shape"]), one_of("dtype", data["dtype"], DTYPES)
    low, high = (_bound(name, data[name], shape, dtype) for name in ("low", "high"))
    return Box(low, high, shape, np.dtype(dtype).type)


def _box_data(space: Any) -> Data:
    bounds = {"low": _bound_data(space.low), "high": _bound_data(space.high)}
    return {"shape": list(space.shape), "dtype": space.dtype.name, **bounds}


def _discrete(data: Data) -> Space:
    check_keys("a Discrete", data, ("n", "start"))
    n, start = integer("n of a Discrete", data["n"], 1, LARGEST), data["start"]
    return Discrete(n, start=integer("start of a Discrete", start, -(2**62), 2**62))


def _discrete_data(space: Any) -> Data:
    return {"n": int(space.n), "start": int(space.start)}


def _multi_discrete(data: Data) -> Space:
    dtype = one_of("dtype", data.get("dtype", "int64"), INTEGERS)
    check_keys("a MultiDiscrete", {**data, "dtype": dtype}, ("nvec", "dtype"))
    sizes = np.array(of_type("nvec", data["nvec"], list), object)
    if not 0 < sum(integer("a size in nvec", size, 1, LARGEST) for size in sizes.ravel()) <= LARGEST:
        raise ValueError(f"a MultiDiscrete has no features, or more than {LARGEST}")
    return MultiDiscrete(sizes.astype(np.int64), dtype=np.dtype(dtype).type)


def _multi_discrete_data(space: Any) -> Data:
    """The dtype is stored only if it is not Gymnasium's default."""
    dtype = {} if space.dtype == np.int64 else {"dtype": space.dtype.name}
    return {"nvec": space.nvec.tolist(), **dtype}


def _multi_binary(data: Data) -> Space:
    """Gymnasium distinguishes a size (a number) from a shape (a list)."""
    check_keys("a MultiBinary", data, ("shape",))
    shape = data["shape"]
    return MultiBinary(_shape(shape) if isinstance(shape, list) else integer("a MultiBinary's size", shape, 1, LARGEST))


def _dict(data: Data) -> Space:
    """A Dict of the other kinds; its entries keep their order."""
    check_keys("a Dict", data, ("spaces",))
    entries = of_type("spaces of a Dict", data["spaces"], list)
    if not 0 < len(entries) <= MAX_ENTRIES:
        raise ValueError(f"a Dict has {len(entries)} entries, not 1 .. {MAX_ENTRIES}")
    spaces: dict[str, Space] = {}
    for entry in entries:
        if len(of_type("an entry of a Dict", entry, list)) != 2:
            raise ValueError("an entry of a Dict is not a name and a space")
        name, part = of_type("a name in a Dict", entry[0], str), of_type("a space", entry[1], dict)
        if part.get("kind") == "Dict" or name in spaces:
            raise ValueError(f"the entry {name[:40]!r} of a Dict is a Dict itself, or is there twice")
        spaces[name] = from_data(part)
    if sum(map(flatdim, spaces.values())) > LARGEST:
        raise ValueError(f"a Dict has more than {LARGEST} features")
    return Dict(spaces)


def _dict_data(space: Any) -> Data:
    if any(isinstance(part, Dict) for part in space.spaces.values()):
        raise ValueError("a Dict space inside of a Dict cannot be saved; flatten it")
    return {"spaces": [[name, to_data(part)] for name, part in space.spaces.items()]}


KINDS: dict[str, tuple[Callable[[Any], Data], Callable[[Data], Space]]] = {
    "Box": (_box_data, _box),
    "Dict": (_dict_data, _dict),
    "Discrete": (_discrete_data, _discrete),
    "MultiBinary": (lambda space: {"shape": np.asarray(space.n).tolist()}, _multi_binary),
    "MultiDiscrete": (_multi_discrete_data, _multi_discrete),
}
