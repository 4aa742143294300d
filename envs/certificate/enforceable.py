"""What an overseer can enforce by any reward on what it sees, before anything is trained.

A reward on overseer observations pays a plan by how often each is made, so the plans that it can single out
are the vertices of a polytope: the counts of observations that the agent can bring about. What a reward
enforces is the true return of the worst plan that is best for it. Two plans with equal counts are paid alike
by every such reward; how far apart in truth they can be is the alias gap.

Counts are discounted sums within the time limit: the occupancy polytope is that of the finite horizon.

Letters: L overseer observations, C = 2 + L payments, V vertices.
"""

from typing import NamedTuple

import numpy as np
from scipy import optimize

from envs.certificate import polytope
from envs.certificate.mixture import uniform_mixture
from envs.certificate.planning import LABELS, TRUE, Decisions, best_payments, tied

LARGE = 100_000  # payments looked at by one plan, above which a mixture is looked up instead
WORK = 4_000_000_000  # payments looked at in the search for vertices
MAX_QUESTIONS = 50_000
FINALISTS = 8  # rewards of a mixture that are planned for
MAX_ROUNDS = 300
RANDOM = 200  # rewards that are tried where vertices are not enumerated
EXACT = 1e-7  # a return that is nearer to the optimum has reached it


class Enforceable(NamedTuple):
    """The best that a reward on overseer observations does."""

    worst: float  # true return, ties among best plans broken for the worst
    uniform: float  # ties among best actions broken uniformly
    reward: np.ndarray  # (L,): attains `worst`
    uniform_reward: np.ndarray  # (L,): attains `uniform`
    is_exact: bool  # of `worst`: else a lower bound; `uniform` is the best over rewards that were tried
    why: str  # how that is known


def enforceable(problem: Decisions, guesses: np.ndarray) -> Enforceable:
    """The best reward on overseer observations; `guesses`, (n, L), are tried before any search."""
    found = _best(problem, np.vstack([guesses, _plausible(problem)]))
    if found.worst >= best_payments(problem, on_truth(problem))[TRUE] - EXACT:
        return found._replace(is_exact=True, why="this reward reaches the optimum")
    if _labels(problem) > polytope.MAX_DIMENSIONS:
        rewards = np.random.default_rng(0).normal(size=(RANDOM, _labels(problem)))
        more = _best(problem, rewards)._replace(why=f"{_labels(problem)} observations: rewards were searched")
    else:
        more = _by_vertices(problem)
    best, fair = max(found, more, key=lambda f: f.worst), max(found, more, key=lambda f: f.uniform)
    return Enforceable(best.worst, fair.uniform, best.reward, fair.uniform_reward, more.is_exact, more.why)


def _by_vertices(problem: Decisions) -> Enforceable:
    """The best over the rewards that single out each count of observations that can be singled out."""
    parts = uniform_mixture(problem) if problem.paid.size * problem.horizon > LARGE else None
    budget = MAX_QUESTIONS if parts else min(MAX_QUESTIONS, WORK // (problem.paid.size * problem.horizon))
    ask = (lambda reward: parts.best(reward)[0]) if parts else (lambda reward: counts(problem, reward))
    corners = polytope.vertices(ask, _labels(problem), budget)
    rewards = corners.directions
    if parts:
        worst = np.array([parts.best(reward)[1] for reward in rewards])
        rewards = rewards[np.argsort(-worst)[:FINALISTS]]
    n = len(corners.points)
    why = f"all {n} vertices" if corners.complete else f"{n} vertices, there are more"
    return _best(problem, rewards)._replace(is_exact=corners.complete, why=why)


def _best(problem: Decisions, rewards: np.ndarray) -> Enforceable:
    """The best of these rewards (n, L)."""
    worth = [tied(problem, on_labels(reward)) for reward in rewards]
    worst, uniform = np.array([w.worst for w in worth]), np.array([w.uniform for w in worth])
    i, j = worst.argmax(), uniform.argmax()
    return Enforceable(float(worst[i]), float(uniform[j]), rewards[i], rewards[j], False, "")


def _plausible(problem: Decisions) -> np.ndarray:
    """(4, L): nothing for any observation, and the fitted, least and greatest truth that each can stand for.

    Where observations determine the true reward, the fit is that reward.
    """
    n_labels = _labels(problem)
    made, true = problem.paid[..., LABELS].reshape(-1, n_labels), problem.paid[..., TRUE].ravel()
    fit = np.linalg.lstsq(made.T @ made, made.T @ true)[0]
    alone = made > 1 - EXACT  # steps that show nothing else
    told = np.where(alone, true[:, None], fit)
    return np.array([np.zeros(n_labels), fit, told.min(0), told.max(0)])


def _labels(problem: Decisions) -> int:
    """L."""
    return problem.paid.shape[2] - 2


def on_truth(problem: Decisions) -> np.ndarray:
    """Weights (C,) of the true reward alone."""
    return np.eye(problem.paid.shape[2])[TRUE]


def on_labels(reward: np.ndarray) -> np.ndarray:
    """Weights (C,) of a reward on overseer observations, (L,)."""
    return np.concatenate([np.zeros(2), reward])


def counts(problem: Decisions, reward: np.ndarray) -> np.ndarray:
    """(L,): how often each overseer observation is made by a plan that is best for a reward on them."""
    return best_payments(problem, on_labels(reward))[LABELS]


class AliasGap(NamedTuple):
    """How far apart in truth two plans can be that the overseer sees alike."""

    value: float
    is_exact: bool  # else a lower bound


def alias_gap(problem: Decisions) -> AliasGap:
    """max U.(mu - mu') over two plans with equal counts of observations, by column generation.

    Both are mixtures of plans met so far; the prices that hold their counts equal say which plans are
    missing, till the prices prove that none is.
    """
    truth = on_truth(problem)
    columns = np.array([best_payments(problem, truth), best_payments(problem, -truth)])
    for _ in range(min(MAX_ROUNDS, max(3, WORK // (problem.paid.size * problem.horizon)))):
        value, prices = _apart(columns)
        weights = truth + on_labels(prices)
        above, below = best_payments(problem, weights), best_payments(problem, -weights)
        bound = (above - below) @ weights
        if bound <= value + EXACT * max(1, abs(bound)):
            return AliasGap(max(value, 0.0) + 0.0, True)
        columns = np.vstack([columns, above, below])
    return AliasGap(max(value, 0.0) + 0.0, False)


def _apart(columns: np.ndarray) -> tuple[float, np.ndarray]:
    """The gap between two mixtures of plans (n, C) with equal counts, and the prices (L,) of the counts."""
    n = len(columns)
    truth, made = columns[:, TRUE], columns[:, LABELS].T
    equal = np.vstack([np.hstack([made, -made]), np.repeat(np.eye(2), n, 1)])
    limits = np.append(np.zeros(len(made)), [1, 1])
    found = optimize.linprog(np.append(-truth, truth), A_eq=equal, b_eq=limits, method="highs")
    return float(-found.fun), found.eqlin.marginals[:-2]
