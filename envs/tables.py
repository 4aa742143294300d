"""Tables of a world, and the index from a state to its row.

Letters: S states of which the first S_A are not terminal, A actions, Z values of the noise, O observations, K state
variables.
"""

import functools
import math
from typing import NamedTuple

import numpy as np

MAX_VOLUME = 4_000_000  # of a box of states that is kept whole


class NotEnumerable(ValueError):  # noqa: N818  (it is no error: the world still runs)
    """The world has no tables: it is too large, or does not write out its starts. It still runs."""


class Tables(NamedTuple):
    """A world written out. Terminal states come last; only the others are acted in."""

    states: np.ndarray  # (S, K) int
    successor: np.ndarray  # (S_A, A, Z) int, an index of states
    noise: np.ndarray  # (Z,) float: the probability of each value of the noise
    reward: np.ndarray  # (S_A, A, Z) float
    true_reward: np.ndarray  # (S_A, A, Z) float
    overseer_obs: np.ndarray  # (S_A, A, Z) int
    observations: np.ndarray  # (O, *obs): the distinct observations that an agent acts on
    observation: np.ndarray  # (S_A,) int, an index of observations
    view: np.ndarray  # (S, *obs): the observation of every state, terminal ones too
    outcome: np.ndarray  # (S,) int, an index of outcomes
    watched: np.ndarray  # (S,) bool
    start: np.ndarray  # (S0,) int, an index of states
    start_probability: np.ndarray  # (S0,) float
    gamma: float
    horizon: int  # the time limit of an episode, in steps; without one, those after which nothing weighs
    outcomes: tuple[str, ...]
    keys: "HashedIndex | DenseIndex"

    @property
    def n_actions(self) -> int:
        """A."""
        return self.successor.shape[1]

    def row(self, states: np.ndarray) -> np.ndarray:
        """(N, K) -> (N,) int: the row of each state."""
        return self.keys.lookup(states)


class HashedIndex(NamedTuple):
    """Rows under sorted 64-bit keys. Distinct rows have distinct keys: `of_rows` has compared them."""

    sorted_keys: np.ndarray  # (S,) uint64
    row: np.ndarray  # (S,) int

    @classmethod
    def of_rows(cls, rows: np.ndarray) -> "HashedIndex":
        """Distinct rows (S, K), in their order."""
        keys = hashed(rows)
        order = np.argsort(keys)
        return cls(keys[order], order)

    def lookup(self, rows: np.ndarray) -> np.ndarray:
        """(N, K) -> (N,) int. Rows that are not there give a wrong row or the count of rows."""
        return self.row[np.searchsorted(self.sorted_keys[:-1], hashed(rows))]


class DenseIndex(NamedTuple):
    """Rows of small whole numbers under their place in the box that holds them: one look, no search."""

    low: np.ndarray  # (K,) int: the box's corner
    size: np.ndarray  # (K,) int: the box's sides
    row: np.ndarray  # (the box's volume,) int32

    @classmethod
    def of_rows(cls, rows: np.ndarray) -> "DenseIndex":
        """Distinct rows (S, K), in their order."""
        low = rows.min(0)
        size = rows.max(0) - low + 1
        places = cls(low, size, np.zeros(math.prod(size.tolist()), np.int32))
        places.row[places._place(rows)] = np.arange(len(rows))
        return places

    def lookup(self, rows: np.ndarray) -> np.ndarray:
        """(N, K) -> (N,) int. Rows that are not there give a wrong row."""
        return self.row.take(self._place(rows), mode="clip")

    def _place(self, rows: np.ndarray) -> np.ndarray:
        weights = np.append(np.cumprod(self.size[:0:-1], dtype=np.int64)[::-1], 1)
        place = functools.partial(np.matmul, dtype=np.int64)  # refuses what is not whole
        return place(rows, weights) - place(self.low, weights)


def make_index(rows: np.ndarray) -> HashedIndex | DenseIndex:
    """Finds distinct rows (S, K) of whole numbers again."""
    volume = math.prod((rows.max(0) - rows.min(0) + 1).tolist())
    return (DenseIndex if volume <= MAX_VOLUME else HashedIndex).of_rows(rows)


def hashed(rows: np.ndarray) -> np.ndarray:
    """(N, ...) -> (N,) uint64: one key a row, equal for equal rows."""
    flat = rows.reshape(len(rows), math.prod(rows.shape[1:]))
    words = flat.astype(np.int64).view(np.uint64) if flat.dtype.kind in "iub" else _scrambled(flat)
    return words @ _odd_numbers(flat.shape[1])


def _scrambled(numbers: np.ndarray) -> np.ndarray:
    """The bits of floats, stirred: those of round numbers are nearly all zero, and would add up alike."""
    words = (numbers + 0.0).astype(np.float64).view(np.uint64)  # no -0.0
    words = (words ^ (words >> np.uint64(32))) * np.uint64(0x9E3779B97F4A7C15)
    return words ^ (words >> np.uint64(29))


@functools.cache
def _odd_numbers(n: int) -> np.ndarray:
    """(n,) uint64, always the same ones."""
    return np.random.default_rng(0).integers(0, 2**63, n, dtype=np.uint64) * 2 + 1


def distinct_rows(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(N, ...) -> where each distinct row first occurs, in order, (O,), and which of them a row is, (N,)."""
    _, first, inverse = np.unique(hashed(rows), return_index=True, return_inverse=True)
    if not np.array_equal(rows[first[inverse]], rows):
        raise NotEnumerable("two different rows have the same key: permute the columns of the state")
    rank = np.argsort(np.argsort(first))
    return np.sort(first), rank[inverse]
