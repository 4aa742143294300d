"""Enumerates the vertices of a polytope that is given by its support function.

The support function returns a point of the polytope that is optimal in a direction. Every such point is a vertex or
lies on a face. In few dimensions, the support function is evaluated at the normal of every facet of the convex hull
of the points found so far, until no facet moves outwards. Then every vertex is found.

Letters: V vertices, L dimensions of the space, d dimensions of the polytope, n points.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy.spatial import ConvexHull

Support = Callable[[np.ndarray], np.ndarray]  # (L,) direction -> (L,) a point of the polytope that is optimal in it
POINT_TOLERANCE = 1e-9  # points that are closer are one; relative to the size of the polytope, as is the next
FACET_TOLERANCE = 1e-7  # a facet that moves outwards by less is final
MAX_DIMENSIONS = 6  # hulls in more dimensions have too many facets


class Vertices(NamedTuple):
    """Vertices, and for each a direction in which it is the only optimum."""

    points: np.ndarray  # (V, L)
    directions: np.ndarray  # (V, L)
    complete: bool  # else there may be more vertices


class AffineHull(NamedTuple):
    """The affine hull of a polytope."""

    points: np.ndarray  # (n, L): the points of the polytope that were found
    origin: np.ndarray  # (L,)
    basis: np.ndarray  # (d, L) orthonormal
    size: float  # the largest coordinate of a point relative to the origin, at least 1


def affine_hull(support: Support, n_dimensions: int) -> AffineHull:
    """Finds the affine hull of a polytope by evaluating the support function orthogonally to the span so far.

    Args:
        support: The support function.
        n_dimensions: L.

    Returns:
        The affine hull, and the points found.
    """
    points, flat = [support(np.zeros(n_dimensions))], np.zeros((0, n_dimensions))
    while True:
        spread = np.array(points) - points[0]
        size = max(1.0, float(np.abs(spread).max()))
        _, lengths, rows = np.linalg.svd(spread)
        basis = rows[: int((lengths > POINT_TOLERANCE * size).sum())]
        rest = np.linalg.svd(np.vstack([basis, flat]))[2][len(basis) + len(flat) :]
        if not len(rest):
            return AffineHull(np.array(points), points[0], basis, size)
        found = [support(rest[0]), support(-rest[0])]
        if max(abs((p - points[0]) @ rest[0]) for p in found) <= POINT_TOLERANCE * size:
            flat = np.vstack([flat, rest[:1]])
        points += found


def vertices(support: Support, n_dimensions: int, budget: int) -> Vertices:
    """Enumerates the vertices of a polytope.

    Args:
        support: The support function.
        n_dimensions: L.
        budget: The number of evaluations of the support function after which the search stops.

    Returns:
        All vertices, or those found within the budget; `complete` states which.
    """
    hull = affine_hull(support, n_dimensions)
    inner = (hull.points - hull.origin) @ hull.basis.T

    def inner_support(direction: np.ndarray) -> np.ndarray:
        return (support(direction @ hull.basis) - hull.origin) @ hull.basis.T

    if len(hull.basis) == 0:
        return Vertices(hull.points[:1], np.zeros((1, n_dimensions)), True)
    if len(hull.basis) == 1:
        ends = inner[[inner.argmin(), inner.argmax()]]
        return Vertices(hull.origin + ends @ hull.basis, np.sign(ends - ends.mean()) @ hull.basis, True)
    points, directions, complete = _expand(inner_support, inner, hull.size, budget)
    return Vertices(hull.origin + points @ hull.basis, directions @ hull.basis, complete)


def _expand(support: Support, points: np.ndarray, size: float, budget: int) -> tuple[np.ndarray, np.ndarray, bool]:
    """Expands a hull of points (n, d) to all vertices (V, d), their directions, and whether there are no more."""
    final: set[bytes] = set()
    while True:
        points = points[np.unique(np.round(points / (POINT_TOLERANCE * size)), axis=0, return_index=True)[1]]
        hull = ConvexHull(points)
        facets = np.unique(np.round(hull.equations, 8) + 0.0, axis=0)
        open_facets = [facet for facet in facets if facet.tobytes() not in final]
        found = []
        for facet in open_facets[:budget]:
            point = support(facet[:-1])
            if facet[:-1] @ point + facet[-1] > FACET_TOLERANCE * size:
                found.append(point)
            else:
                final.add(facet.tobytes())
        budget -= len(open_facets)
        if not found or budget <= 0:
            return points[hull.vertices], _vertex_normals(hull), not found and budget >= 0
        points = np.vstack([points[hull.vertices], found])


def _vertex_normals(hull: ConvexHull) -> np.ndarray:
    """The mean of the normals of each vertex's facets, (V, d): a direction in the interior of its normal cone."""
    normals = np.zeros((len(hull.points), hull.points.shape[1]))
    np.add.at(normals, hull.simplices, hull.equations[:, None, :-1])
    return normals[hull.vertices] / np.linalg.norm(normals[hull.vertices], axis=1, keepdims=True)
