"""Tables of an enumerated world, and the index from a state to its row.

Letters: S states of which the first S_A are not terminal, A actions, Z values of the noise, O observations, K state
variables.
"""

import functools
import itertools
import math
from typing import NamedTuple

import numpy as np

SAME_HASH = "two different rows have the same hash: permute the state variables"
SMALL_BATCH = 1024  # rows: RowSet keeps smaller batches in a dictionary
MAX_VOLUME = 4_000_000  # cells of the largest bounding box that DenseIndex allocates


class NotEnumerable(ValueError):  # noqa: N818  (the world still runs)
    """The world has no tables: it has too many states or no `starts()`. It still runs and trains on samples."""


class Tables(NamedTuple):
    """An enumerated world. Terminal states come last; actions are taken in the others only."""

    states: np.ndarray  # (S, K) int
    successor: np.ndarray  # (S_A, A, Z) int, an index of states
    noise: np.ndarray  # (Z,) float: the probability of each value of the noise
    reward: np.ndarray  # (S_A, A, Z) float
    true_reward: np.ndarray  # (S_A, A, Z) float
    overseer_obs: np.ndarray  # (S_A, A, Z) int
    observations: np.ndarray  # (O, *obs): the distinct observations of non-terminal states
    observation: np.ndarray  # (S_A,) int, an index of observations
    view: np.ndarray  # (S, *obs): the observation of every state, terminal ones included
    outcome: np.ndarray  # (S,) int, an index of outcomes
    watched: np.ndarray  # (S,) bool
    start: np.ndarray  # (S0,) int, an index of states
    start_probability: np.ndarray  # (S0,) float
    gamma: float
    horizon: int  # time limit in steps; without a limit, steps until the discount is negligible
    outcomes: tuple[str, ...]
    keys: "HashedIndex | DenseIndex"
    is_closed: bool = True  # False: states first reached at the time limit have no real successors, only themselves
    overseer_codebook: np.ndarray | None = None  # (L, F): the features that each value of overseer_obs stands for
    bad_act: np.ndarray = np.zeros((0, 0, 0), np.int8)  # (S_A, A, Z) int8: 0 none, i: kind i - 1; empty without any

    @property
    def n_actions(self) -> int:
        """A."""
        return self.successor.shape[1]

    def row(self, states: np.ndarray) -> np.ndarray:
        """(N, K) -> (N,) int: the row of each state."""
        return self.keys.lookup(states)


class HashedIndex(NamedTuple):
    """Index by sorted 64-bit hashes. `distinct_rows` has verified that distinct rows have distinct hashes."""

    sorted_keys: np.ndarray  # (S,) uint64
    row: np.ndarray  # (S,) int

    @classmethod
    def of_rows(cls, rows: np.ndarray) -> "HashedIndex":
        """Indexes distinct rows, (S, K), in their order."""
        keys = hashed(rows)
        order = np.argsort(keys)
        return cls(keys[order], order)

    def lookup(self, rows: np.ndarray) -> np.ndarray:
        """(N, K) -> (N,) int. A row that was not indexed gives an arbitrary number."""
        return self.row[np.searchsorted(self.sorted_keys[:-1], hashed(rows))]


class DenseIndex(NamedTuple):
    """Index of small integers by position in their bounding box: one look-up, no search."""

    low: np.ndarray  # (K,) int: the smallest value of each column
    size: np.ndarray  # (K,) int: the number of values of each column
    row: np.ndarray  # (size of the box,) int32

    @classmethod
    def of_rows(cls, rows: np.ndarray) -> "DenseIndex":
        """Indexes distinct rows, (S, K), in their order."""
        low = rows.min(0)
        size = rows.max(0) - low + 1
        index = cls(low, size, np.zeros(math.prod(size.tolist()), np.int32))
        index.row[index._position(rows)] = np.arange(len(rows))
        return index

    def lookup(self, rows: np.ndarray) -> np.ndarray:
        """(N, K) -> (N,) int. A row that was not indexed gives an arbitrary number."""
        return self.row.take(self._position(rows), mode="clip")

    def _position(self, rows: np.ndarray) -> np.ndarray:
        weights = np.append(np.cumprod(self.size[:0:-1], dtype=np.int64)[::-1], 1)
        dot = functools.partial(np.matmul, dtype=np.int64)  # raises on floats
        return dot(rows, weights) - dot(self.low, weights)


class RowSet:
    """A growing set of distinct integer rows; adding a few rows does not cost more in a large set.

    Large batches are kept sorted by hash and searched; small ones are kept in a dictionary.
    """

    def __init__(self, columns: int) -> None:
        self._rows = np.empty((1024, columns), np.int64)
        self._size = 0
        self._keys, self._number = np.empty(0, np.uint64), np.empty(0, np.intp)  # sorted hashes, numbers of their rows
        self._small: dict[int, int] = {}  # hash -> number

    def __len__(self) -> int:
        return self._size

    def add(self, rows: np.ndarray) -> np.ndarray:
        """Adds rows, (N, K), and returns those that are new, in the order of their first occurrence.

        Raises:
            NotEnumerable: two different rows have the same hash.
        """
        rows = rows[np.sort(_first_occurrences(rows)[0])]
        keys = hashed(rows)
        number = self._find(keys)
        known = number >= 0
        if not np.array_equal(self._rows[number[known]], rows[known]):
            raise NotEnumerable(SAME_HASH)
        new = rows[~known]
        self._append(new, keys[~known])
        return new

    def _find(self, keys: np.ndarray) -> np.ndarray:
        """(N,) int: the number of the row with each hash, or -1."""
        number = np.full(len(keys), -1)
        if len(self._keys):
            at = np.minimum(np.searchsorted(self._keys, keys), len(self._keys) - 1)
            number = np.where(self._keys[at] == keys, self._number[at], -1)
        if self._small:
            small = np.fromiter(map(self._small.get, keys.tolist(), itertools.repeat(-1)), np.intp, len(keys))
            number = np.maximum(number, small)
        return number

    def _append(self, rows: np.ndarray, keys: np.ndarray) -> None:
        start, self._size = self._size, self._size + len(rows)
        if self._size > len(self._rows):
            grown = np.empty((2 * self._size, rows.shape[1]), np.int64)
            grown[:start] = self._rows[:start]
            self._rows = grown
        self._rows[start : self._size] = rows
        number = np.arange(start, self._size)
        if len(rows) < max(SMALL_BATCH, len(self._keys) // 8):
            self._small.update(zip(keys.tolist(), number.tolist(), strict=True))
            return
        self._keys, self._number = np.append(self._keys, keys), np.append(self._number, number)
        order = np.argsort(self._keys)
        self._keys, self._number = self._keys[order], self._number[order]


def make_index(rows: np.ndarray) -> HashedIndex | DenseIndex:
    """Indexes distinct rows, (S, K), of integers."""
    volume = math.prod((rows.max(0) - rows.min(0) + 1).tolist())
    return (DenseIndex if volume <= MAX_VOLUME else HashedIndex).of_rows(rows)


def hashed(rows: np.ndarray) -> np.ndarray:
    """(N, ...) -> (N,) uint64: a hash of each row, equal for equal rows."""
    flat = rows.reshape(len(rows), math.prod(rows.shape[1:]))
    words = flat.astype(np.int64).view(np.uint64) if flat.dtype.kind in "iub" else _mixed_bits(flat)
    return words @ _odd_numbers(flat.shape[1])


def _mixed_bits(numbers: np.ndarray) -> np.ndarray:
    """The bits of floats, mixed: the low bits of round numbers are zero, so their linear hashes would collide."""
    words = (numbers + 0.0).astype(np.float64).view(np.uint64)  # + 0.0 turns -0.0 into 0.0
    words = (words ^ (words >> np.uint64(32))) * np.uint64(0x9E3779B97F4A7C15)
    return words ^ (words >> np.uint64(29))


@functools.cache
def _odd_numbers(n: int) -> np.ndarray:
    """(n,) uint64, a fixed sequence."""
    return np.random.default_rng(0).integers(0, 2**63, n, dtype=np.uint64) * 2 + 1


def distinct_rows(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Finds the distinct rows of an array.

    Args:
        rows: (N, ...) numbers.

    Returns:
        The index of the first occurrence of each distinct row, ascending, (O,) int; and for each row the number of
        its distinct row, (N,) int.

    Raises:
        NotEnumerable: two different rows have the same hash.
    """
    first, inverse = _first_occurrences(rows)
    rank = np.argsort(np.argsort(first))
    return np.sort(first), rank[inverse]


def _first_occurrences(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """As `distinct_rows`, with the distinct rows in the order of their hashes."""
    _, first, inverse = np.unique(hashed(rows), return_index=True, return_inverse=True)
    if not np.array_equal(rows[first[inverse]], rows):
        raise NotEnumerable(SAME_HASH)
    return first, inverse
