"""The polytope of counts of a deterministic world, as a mixture of few small polytopes.

If every transition is deterministic, the counts attainable from one start state are few. The polytope of all counts
is the mixture of one finite set of points per start state, and most start states share theirs: the 55 200 start
states of the 5x5 grid have a few hundred kinds. The support function of the mixture is a table look-up.

Letters: X planning states, A actions, C reward components, L overseer observations, G kinds of planning state,
n points of counts, R rows of moves.
"""

from typing import NamedTuple

import numpy as np
from scipy import sparse

from envs.certificate.planning import DIGITS, LABELS, TRUE, PlanningProblem
from envs.tables import distinct_rows

MAX_SIZE = 20_000_000  # kinds times points


class Mixture(NamedTuple):
    """The counts attainable from each kind of start state; kinds with the same attainable counts are one."""

    weight: np.ndarray  # (G,) probability
    points: np.ndarray  # (n, L) counts
    penalty: np.ndarray  # (G, n): -inf where the counts are not attainable, else 0
    worst: np.ndarray  # (G, n): the least true return with these counts

    def best(self, direction: np.ndarray) -> tuple[np.ndarray, float]:
        """The counts (L,) that are optimal in a direction (L,), and the least true return with them."""
        chosen = (self.penalty + self.points @ direction).argmax(1)
        worst = self.worst[np.arange(len(chosen)), chosen]
        return self.weight @ self.points[chosen], float(self.weight @ worst)


def uniform_mixture(problem: PlanningProblem) -> Mixture | None:
    """Computes the mixture of a planning problem by backward induction over the kinds of planning state.

    Args:
        problem: The planning problem.

    Returns:
        The mixture; None if a transition is stochastic, or there are more than `MAX_SIZE` pairs of kind and point.
    """
    successor = deterministic_successor(problem)
    if successor is None:
        return None
    rewards = problem.rewards.reshape(successor.size, -1)
    first, step = distinct_rows(np.round(rewards, DIGITS))
    rewards, step = rewards[first], step.reshape(successor.shape)
    points, worst = np.zeros((1, rewards.shape[1] - 2)), np.zeros((1, 1))  # of a terminal state: kind 0
    kind = np.zeros(len(successor), np.int64)
    for _ in range(problem.horizon):
        moves = np.sort(step * len(worst) + np.where(successor < 0, 0, kind[successor]), 1)
        rows, kind = distinct_rows(moves)
        points, worst = _backup(rewards, points, worst, moves[rows], problem.gamma)
        if worst.size > MAX_SIZE:
            return None
        first, merged = distinct_rows(np.round(worst, DIGITS))
        worst, kind = worst[first], merged[kind + 1]
    weight = np.bincount(kind, problem.start, len(worst))
    return _merge_kinds(weight[weight > 0], points, worst[weight > 0])


def _merge_kinds(weight: np.ndarray, points: np.ndarray, worst: np.ndarray) -> Mixture:
    """Merges kinds of start state, (G,), (n, L) and (G, n), that attain the same points; inf marks the others."""
    attainable = np.isfinite(worst)
    first, merged = distinct_rows(attainable)
    total = np.bincount(merged, weight, len(first))
    merge = sparse.csr_array((weight, (merged, np.arange(len(weight)))), (len(first), len(weight)))
    mean = (merge @ np.where(attainable, worst, 0)) / total[:, None]
    return Mixture(total, points, np.where(attainable[first], 0, -np.inf), mean)


def deterministic_successor(problem: PlanningProblem) -> np.ndarray | None:
    """The planning state after each action, (X, A) int, -1 for an end; None if a transition is stochastic."""
    n_next, shape = np.diff(problem.transition.indptr), problem.rewards.shape[:2]
    if n_next.max(initial=0) > 1 or not np.allclose(problem.transition.data, 1):
        return None
    successor = np.full(len(n_next), -1)
    successor[n_next == 1] = problem.transition.indices
    return successor.reshape(shape)


def _backup(
    rewards: np.ndarray, points: np.ndarray, worst: np.ndarray, moves: np.ndarray, gamma: float
) -> tuple[np.ndarray, np.ndarray]:
    """One step of backward induction: the points, and the least true return of an end and of each row of moves.

    A move, an entry of (R, A), combines a kind of step and the kind of the next planning state: step * G + kind.
    """
    step, following = np.divmod(moves, len(worst))
    steps = np.unique(step)
    live = [np.isfinite(worst[following[step == s]]).any(0) for s in steps]
    attained = [rewards[s, LABELS] + gamma * points[at] for s, at in zip(steps, live, strict=True)]
    every = np.concatenate([np.zeros((1, points.shape[1])), *attained])
    first, index = distinct_rows(np.round(every, DIGITS) + 0.0)
    indices = np.split(index[1:], np.cumsum([len(a) for a in attained])[:-1])
    least = np.full((len(moves) + 1, len(first)), np.inf)
    least[0, index[0]] = 0
    for s, at, to in zip(steps, live, indices, strict=True):
        for action in range(moves.shape[1]):
            rows = np.flatnonzero(step[:, action] == s)
            entries = np.ix_(rows + 1, to)
            returns = rewards[s, TRUE] + gamma * worst[following[rows, action]][:, at]
            least[entries] = np.minimum(least[entries], returns)
    return every[first], least
