"""Memory that nobody holds any more is written over: to get fresh pages costs ten times as much as to fill them."""

import sys
from typing import Any

import numpy as np

MAX_ARRAYS = 8  # arrays kept


class ArrayPool:
    """Arrays of one shape and type, each given out again once neither it nor a view of it is held by anybody.

    >>> blank = Recycled((512, 5, 5, 5), np.int8)
    >>> obs = blank()
    """

    def __init__(self, shape: tuple[int, ...], dtype: Any) -> None:
        self.shape, self.dtype = shape, dtype
        self._arrays = [np.empty(shape, dtype)]
        self._ours = sys.getrefcount(self._arrays[0])  # our own references

    def __call__(self) -> np.ndarray:
        """An array with anything in it."""
        for i in range(len(self._arrays)):
            if sys.getrefcount(self._arrays[i]) == self._ours:
                return self._arrays[i]
        array = np.empty(self.shape, self.dtype)
        if len(self._arrays) < MAX_ARRAYS:
            self._arrays.append(array)
        return array
