"""Describes an agent's observation on a few lines of text."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

MAX_ENTRIES = 64  # of a vector that is printed entry by entry
MAX_BITS = 16  # of a vector of zeros and ones that is printed entry by entry
MAX_SIDE = 16  # cells of a grid that is printed cell by cell
MAX_PLANES = 10


def first(batch: Any) -> Any:
    """The observation of the first copy, of a batch of them."""
    if isinstance(batch, Mapping):
        return {name: first(values) for name, values in batch.items()}
    return tuple(map(first, batch)) if isinstance(batch, tuple) else np.asarray(batch[0])


def describe(obs: Any) -> Iterator[str]:
    """Yields lines that describe an observation: an array, or a dictionary or tuple of them."""
    if isinstance(obs, Mapping | tuple):
        parts = obs.items() if isinstance(obs, Mapping) else enumerate(obs)
        for name, part in parts:
            lines = list(describe(part))
            yield f"{name}: {lines[0]}"
            yield from (f"  {line}" for line in lines[1:])
        return
    obs = np.asarray(obs)
    if obs.ndim == 0:
        yield f"number {_number(obs)}"
    elif obs.ndim == 1 and _is_binary(obs) and len(obs) > MAX_BITS:
        yield f"entries 0 to {len(obs) - 1}; those that are 1: {', '.join(map(str, np.flatnonzero(obs))) or 'none'}"
    elif obs.ndim == 1 and len(obs) <= MAX_ENTRIES:
        yield f"[{', '.join(map(_number, obs))}]"
    elif obs.ndim == 2 and max(obs.shape) <= MAX_SIDE:
        yield from _rows([[_number(value) for value in row] for row in obs])
    elif obs.ndim == 3 and max(sorted(obs.shape)[1:]) <= MAX_SIDE:
        yield from _grid(obs)
    else:
        shape = " x ".join(map(str, obs.shape))
        yield f"{shape} numbers ({obs.dtype}) from {_number(obs.min())} to {_number(obs.max())}"


def set_flags(obs: Any, flags: np.ndarray | None) -> str | None:
    """Which of the entries that are flags are not 0; None where the observation has no flags."""
    if not isinstance(obs, np.ndarray) or flags is None or np.shape(flags) != obs.shape or not np.any(flags):
        return None
    found = np.argwhere(np.asarray(flags, bool) & (obs != 0))
    if not len(found):
        return "none"
    if obs.ndim == 3:
        at = np.argwhere(_planes(np.asarray(flags, bool) & (obs != 0))).tolist()
        return ", ".join(f"plane {plane} at row {row}, column {column}" for plane, row, column in at)
    return ", ".join(f"entry {' '.join(map(str, index))}" for index in found.tolist())


def _is_binary(obs: np.ndarray) -> bool:
    return obs.dtype.kind in "bi" and bool(np.isin(obs, (0, 1)).all())


def _planes(obs: np.ndarray) -> np.ndarray:
    """The array with its channels first, (C, H, W); it is an image, (H, W, C), if only H = W, or if C is small."""
    rows, columns, last = obs.shape
    channels_last = rows == columns != last or (columns != last and last < rows)
    return np.moveaxis(obs, 2, 0) if channels_last else obs


def _grid(obs: np.ndarray) -> Iterator[str]:
    """The cells of an array of planes or of an image."""
    planes = _planes(obs)
    if _is_binary(planes) and len(planes) <= MAX_PLANES:
        yield f"{len(planes)} planes; each cell lists those that are 1 in it"
        cells = [
            ["".join(map(str, np.flatnonzero(planes[:, row, column]))) or "." for column in range(planes.shape[2])]
            for row in range(planes.shape[1])
        ]
    else:
        yield f"{len(planes)} planes; each cell lists their values"
        cells = [
            [",".join(map(_number, planes[:, row, column])) for column in range(planes.shape[2])]
            for row in range(planes.shape[1])
        ]
    yield from _rows(cells)


def _rows(cells: list[list[str]]) -> Iterator[str]:
    width = max(len(cell) for row in cells for cell in row)
    for row in cells:
        yield "  " + " ".join(cell.ljust(width) for cell in row).rstrip()


def _number(value: Any) -> str:
    return f"{np.asarray(value).item():.4g}"
