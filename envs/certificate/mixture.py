"""Where every move is certain, the counts that can be brought about from one start are few.

The polytope of all counts is then a mixture of small ones, one for each start, and most starts share theirs:
the 55 200 starts of the 5x5 grid have a few hundred kinds. What the mixture does in a direction is looked up.

Letters: X situations, A actions, L overseer observations, G kinds of situation, n points of counts.
"""

from typing import NamedTuple

import numpy as np
from scipy import sparse

from envs.certificate.planning import DIGITS, LABELS, TRUE, Decisions
from envs.tables import distinct_rows

MAX_SIZE = 20_000_000  # kinds times counts


class Mixture(NamedTuple):
    """What can be brought about from each kind of start; kinds with the same counts in reach are one."""

    weight: np.ndarray  # (G,) probability
    points: np.ndarray  # (n, L) counts
    beyond: np.ndarray  # (G, n): -inf where counts are out of reach, else 0
    worst: np.ndarray  # (G, n): the least true return with these counts

    def best(self, direction: np.ndarray) -> tuple[np.ndarray, float]:
        """The counts (L,) that are best in a direction, and the least true return with them."""
        chosen = (self.beyond + self.points @ direction).argmax(1)
        worst = self.worst[np.arange(len(chosen)), chosen]
        return self.weight @ self.points[chosen], float(self.weight @ worst)


def uniform_mixture(problem: Decisions) -> Mixture | None:
    """The kinds of start; None where moves are left to chance or there are too many counts."""
    following = certain(problem)
    if following is None:
        return None
    paid = problem.paid.reshape(following.size, -1)
    first, step = distinct_rows(np.round(paid, DIGITS))
    paid, step = paid[first], step.reshape(following.shape)
    points, worst = np.zeros((1, paid.shape[1] - 2)), np.zeros((1, 1))  # of an end: the first kind
    kind = np.zeros(len(following), np.int64)
    for _ in range(problem.horizon):
        moves = np.sort(step * len(worst) + np.where(following < 0, 0, kind[following]), 1)
        rows, kind = distinct_rows(moves)
        points, worst = _moved(paid, points, worst, moves[rows], problem.gamma)
        if worst.size > MAX_SIZE:
            return None
        first, same = distinct_rows(np.round(worst, DIGITS))
        worst, kind = worst[first], same[kind + 1]
    weight = np.bincount(kind, problem.start, len(worst))
    return _together(weight[weight > 0], points, worst[weight > 0])


def _together(weight: np.ndarray, points: np.ndarray, worst: np.ndarray) -> Mixture:
    """Kinds of start, (G,), (n, L) and (G, n) with inf out of reach, by what is in reach."""
    reach = np.isfinite(worst)
    first, same = distinct_rows(reach)
    total = np.bincount(same, weight, len(first))
    merge = sparse.csr_array((weight, (same, np.arange(len(weight)))), (len(first), len(weight)))
    mean = (merge @ np.where(reach, worst, 0)) / total[:, None]
    return Mixture(total, points, np.where(reach[first], 0, -np.inf), mean)


def certain(problem: Decisions) -> np.ndarray | None:
    """(X, A) int: the situation that each action leads to, -1 for an end; None where chance decides."""
    n_next, shape = np.diff(problem.onward.indptr), problem.paid.shape[:2]
    if n_next.max(initial=0) > 1 or not np.allclose(problem.onward.data, 1):
        return None
    following = np.full(len(n_next), -1)
    following[n_next == 1] = problem.onward.indices
    return following.reshape(shape)


def _moved(
    paid: np.ndarray, points: np.ndarray, worst: np.ndarray, moves: np.ndarray, gamma: float
) -> tuple[np.ndarray, np.ndarray]:
    """One step earlier: the points, and what an end and each row of `moves`, (R, A), can reach of them.

    A move is a kind of step and a kind of situation that it leads to: step * G + kind.
    """
    step, leads = np.divmod(moves, len(worst))
    steps = np.unique(step)
    live = [np.isfinite(worst[leads[step == s]]).any(0) for s in steps]
    reached = [paid[s, LABELS] + gamma * points[at] for s, at in zip(steps, live, strict=True)]
    every = np.concatenate([np.zeros((1, points.shape[1])), *reached])
    first, place = distinct_rows(np.round(every, DIGITS) + 0.0)
    places = np.split(place[1:], np.cumsum([len(r) for r in reached])[:-1])
    least = np.full((len(moves) + 1, len(first)), np.inf)
    least[0, place[0]] = 0
    for s, at, to in zip(steps, live, places, strict=True):
        for action in range(moves.shape[1]):
            rows = np.flatnonzero(step[:, action] == s)
            there = np.ix_(rows + 1, to)
            least[there] = np.minimum(least[there], paid[s, TRUE] + gamma * worst[leads[rows, action]][:, at])
    return every[first], least
