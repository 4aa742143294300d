"""A polytope that is known by asking which of its points is best in a direction: its vertices, all or some.

Where the space is small, the convex hull of the points found so far is asked facet by facet, until no facet
can be moved outwards: then every vertex is found. (Every answer is a vertex or lies on a face.)

Letters: V vertices, L dimensions of the space, d dimensions of the polytope.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy.spatial import ConvexHull

Support = Callable[[np.ndarray], np.ndarray]  # (L,) direction -> (L,) a point of the polytope that is best in it
NEAR = 1e-9  # points that are closer are one; relative to the size of the polytope, as is
GAIN = 1e-7  # a facet that can be moved out by less is taken as it is
MAX_DIMENSIONS = 6  # hulls in more dimensions have too many facets


class Vertices(NamedTuple):
    """Vertices, and for each a direction in which it alone is best."""

    points: np.ndarray  # (V, L)
    directions: np.ndarray  # (V, L)
    complete: bool  # else there may be more


class Frame(NamedTuple):
    """The flat that a polytope lies in."""

    points: np.ndarray  # (n, L): met on the way
    origin: np.ndarray  # (L,)
    basis: np.ndarray  # (d, L) orthonormal
    size: float


def frame(support: Support, n_dimensions: int) -> Frame:
    """Finds the flat by asking in every direction that is not yet spanned."""
    points, flat = [support(np.zeros(n_dimensions))], np.zeros((0, n_dimensions))
    while True:
        spread = np.array(points) - points[0]
        size = max(1.0, float(np.abs(spread).max()))
        _, lengths, rows = np.linalg.svd(spread)
        basis = rows[: int((lengths > NEAR * size).sum())]
        rest = np.linalg.svd(np.vstack([basis, flat]))[2][len(basis) + len(flat) :]
        if not len(rest):
            return Frame(np.array(points), points[0], basis, size)
        found = [support(rest[0]), support(-rest[0])]
        if max(abs((p - points[0]) @ rest[0]) for p in found) <= NEAR * size:
            flat = np.vstack([flat, rest[:1]])
        points += found


def vertices(support: Support, n_dimensions: int, budget: int) -> Vertices:
    """All vertices, or as many as `budget` questions find."""
    flat = frame(support, n_dimensions)
    inner = (flat.points - flat.origin) @ flat.basis.T

    def ask(direction: np.ndarray) -> np.ndarray:
        return (support(direction @ flat.basis) - flat.origin) @ flat.basis.T

    if len(flat.basis) == 0:
        return Vertices(flat.points[:1], np.zeros((1, n_dimensions)), True)
    if len(flat.basis) == 1:
        ends = inner[[inner.argmin(), inner.argmax()]]
        return Vertices(flat.origin + ends @ flat.basis, np.sign(ends - ends.mean()) @ flat.basis, True)
    points, directions, complete = _hull(ask, inner, flat.size, budget)
    return Vertices(flat.origin + points @ flat.basis, directions @ flat.basis, complete)


def _hull(ask: Support, points: np.ndarray, size: float, budget: int) -> tuple[np.ndarray, np.ndarray, bool]:
    """Vertices (V, d), their directions, and whether there are no more."""
    settled: set[bytes] = set()
    while True:
        points = points[np.unique(np.round(points / (NEAR * size)), axis=0, return_index=True)[1]]
        hull = ConvexHull(points)
        facets = np.unique(np.round(hull.equations, 8) + 0.0, axis=0)
        open_facets = [facet for facet in facets if facet.tobytes() not in settled]
        found = []
        for facet in open_facets[:budget]:
            point = ask(facet[:-1])
            if facet[:-1] @ point + facet[-1] > GAIN * size:
                found.append(point)
            else:
                settled.add(facet.tobytes())
        budget -= len(open_facets)
        if not found or budget <= 0:
            return points[hull.vertices], _outwards(hull), not found and budget >= 0
        points = np.vstack([points[hull.vertices], found])


def _outwards(hull: ConvexHull) -> np.ndarray:
    """(V, d): for each vertex the mean of the normals of its facets, inside the cone where it is best."""
    normals = np.zeros((len(hull.points), hull.points.shape[1]))
    np.add.at(normals, hull.simplices, hull.equations[:, None, :-1])
    return normals[hull.vertices] / np.linalg.norm(normals[hull.vertices], axis=1, keepdims=True)
