"""Codes of overseer observations that consist of features: tables hold the code of each distinct row of features.

Letters: L distinct rows, F features, N rows.
"""

import functools

import numpy as np

from envs.tables import HashedIndex, NotEnumerable, distinct_rows

MAX_CODES = 4096  # distinct overseer observations that tables may have


class Codebook:
    """The distinct rows of features; a row's number is its code."""

    def __init__(self, features: np.ndarray) -> None:
        """Indexes distinct rows, (L, F) float, nan where a feature is not observed."""
        self.features = features

    @functools.cached_property
    def _index(self) -> HashedIndex:
        return HashedIndex.of_rows(_without_nan(self.features))

    def codes(self, features: np.ndarray) -> np.ndarray:
        """The code of each row, (N, F) -> (N,) int.

        Raises:
            ValueError: a row is not in the tables.
        """
        if not len(features):
            return np.zeros(0, np.int64)
        codes = self._index.lookup(_without_nan(features))
        unknown = np.flatnonzero(~np.isclose(self.features[codes], features, rtol=0, atol=0, equal_nan=True).all(1))
        if len(unknown):
            found = features[unknown[0]].tolist()
            raise ValueError(f"overseer observation {found} is not in the tables: start in states that the tables have")
        return codes


def make_codes(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The distinct rows of features in lexicographic order, (L, F), and the code of each row, (N, F) -> (N,) int.

    Raises:
        NotEnumerable: there are more than `MAX_CODES` distinct rows.
    """
    first, number = distinct_rows(_without_nan(features))
    if len(first) > MAX_CODES:
        raise NotEnumerable(f"there are {len(first)} overseer observations, more than {MAX_CODES}: round the features")
    order = np.lexsort(features[first].T[::-1])
    return features[first[order]], np.argsort(order)[number]


def feature_labels(names: tuple[str, ...], codebook: np.ndarray) -> tuple[str, ...]:
    """A label for each row of a codebook, such as "clarity 2, length ?"; ? marks what is not observed."""
    texts = [["?" if np.isnan(value) else f"{value:.12g}" for value in row] for row in codebook]
    return tuple(", ".join(f"{name} {text}" for name, text in zip(names, row, strict=True)) for row in texts)


def _without_nan(features: np.ndarray) -> np.ndarray:
    """(N, F) -> (N, 2 F): the features with 0 for nan, and where they are nan; equal for equal rows."""
    missing = np.isnan(features)
    return np.hstack([np.where(missing, 0.0, features), missing])
