"""The enforceable return and the alias gap of a planning problem.

A reward on overseer observations depends on a plan only through its counts: how often it makes the world emit each
overseer observation. The counts that plans attain form a polytope, and the rewards can single out its vertices. The
enforceable return of a reward is the true return of the worst plan that is optimal for it. Two plans with equal
counts receive the same return from every such reward; the alias gap is the largest difference of their true returns.

Counts are discounted sums within the time limit: the occupancy polytope is that of the finite horizon.

Letters: L overseer observations, C = 2 + L reward components, V vertices, n rewards or plans.
"""

from typing import NamedTuple

import numpy as np
from scipy import optimize

from envs.certificate import polytope
from envs.certificate.mixture import uniform_mixture
from envs.certificate.planning import LABELS, TRUE, PlanningProblem, optimal_components, plan_returns

LARGE = 100_000  # numbers read by one plan, above which a mixture replaces planning
MAX_WORK = 4_000_000_000  # numbers read in the search for vertices
MAX_SUPPORT_CALLS = 50_000
N_FINALISTS = 8  # rewards of a mixture that are evaluated by planning
MAX_ROUNDS = 300
N_RANDOM = 200  # rewards that are tried if vertices are not enumerated
REACHED = "this reward reaches the optimum"
EXACT = 1e-7  # a return that is nearer to the optimum counts as the optimum


class Enforceable(NamedTuple):
    """The best rewards on overseer observations."""

    worst: float  # true return, ties among optimal plans broken to the worst
    uniform: float  # true return, ties among optimal actions broken uniformly
    reward: np.ndarray  # (L,): attains `worst`
    uniform_reward: np.ndarray  # (L,): attains `uniform`
    is_exact: bool  # of `worst`: else a lower bound; `uniform` is the best over rewards that were tried
    method: str  # how `worst` was found


def enforceable(problem: PlanningProblem, guesses: np.ndarray, n_random: int = N_RANDOM) -> Enforceable:
    """Finds the best reward on overseer observations.

    Args:
        problem: The planning problem.
        guesses: (n, L), rewards to try before any search.
        n_random: Random rewards to try if there are too many overseer observations to enumerate vertices.

    Returns:
        The best rewards found under both tie rules, and whether the value under worst ties is exact.
    """
    candidate = _best_of(problem, np.vstack([guesses, candidate_rewards(problem.rewards)]))
    optimum = optimal_components(problem, true_weights(problem))[TRUE]
    if candidate.worst >= optimum - EXACT:
        return candidate._replace(is_exact=True, method=REACHED)
    if _n_labels(problem) > polytope.MAX_DIMENSIONS:
        rewards = np.random.default_rng(0).normal(size=(n_random, _n_labels(problem)))
        found = _best_of(problem, rewards)._replace(method=f"{_n_labels(problem)} observations: rewards were searched")
    else:
        found = _best_by_vertices(problem)
    best = max(candidate, found, key=lambda result: result.worst)
    uniform = max(candidate, found, key=lambda result: result.uniform)
    reached = best.worst >= optimum - EXACT
    return Enforceable(
        best.worst,
        uniform.uniform,
        best.reward,
        uniform.uniform_reward,
        found.is_exact or bool(reached),
        REACHED if reached else found.method,
    )


def _best_by_vertices(problem: PlanningProblem) -> Enforceable:
    """The best of the rewards that single out each vertex of the polytope of counts."""
    large = problem.rewards.size * problem.horizon > LARGE
    mixture = uniform_mixture(problem) if large else None
    calls = MAX_WORK // (problem.rewards.size * problem.horizon)
    budget = MAX_SUPPORT_CALLS if mixture else min(MAX_SUPPORT_CALLS, calls)
    support = (lambda reward: mixture.best(reward)[0]) if mixture else (lambda reward: label_counts(problem, reward))
    found = polytope.vertices(support, _n_labels(problem), budget)
    rewards = found.directions
    if mixture:
        worst = np.array([mixture.best(reward)[1] for reward in rewards])
        rewards = rewards[np.argsort(-worst)[:N_FINALISTS]]
    n = len(found.points)
    return _best_of(problem, rewards)._replace(is_exact=found.complete, method=vertex_method(n, found.complete))


def vertex_method(n: int, complete: bool) -> str:
    """How a value was found that is the best of n vertices."""
    if not complete:
        return f"{n} vertices, there are more"
    return f"all {n} vertices" if n > 1 else "all plans have the same counts"


def _best_of(problem: PlanningProblem, rewards: np.ndarray) -> Enforceable:
    """The best of these rewards (n, L)."""
    returns = [plan_returns(problem, label_weights(reward)) for reward in rewards]
    worst, uniform = np.array([r.worst for r in returns]), np.array([r.uniform for r in returns])
    i, j = worst.argmax(), uniform.argmax()
    return Enforceable(float(worst[i]), float(uniform[j]), rewards[i], rewards[j], False, "")


def candidate_rewards(rewards: np.ndarray) -> np.ndarray:
    """Rewards to try first: zero, and the fitted, least and greatest true reward of each overseer observation.

    If overseer observations determine the true reward, the fit is that reward.

    Args:
        rewards: (X, A, C), the expected reward components of each step.

    Returns:
        (4, L).
    """
    n_labels = rewards.shape[2] - 2
    counts, true = rewards[..., LABELS].reshape(-1, n_labels), rewards[..., TRUE].ravel()
    fit = np.linalg.lstsq(counts.T @ counts, counts.T @ true)[0]
    certain = counts > 1 - EXACT  # steps that emit one overseer observation only
    stated = np.where(certain, true[:, None], fit)
    return np.array([np.zeros(n_labels), fit, stated.min(0), stated.max(0)])


def _n_labels(problem: PlanningProblem) -> int:
    """L."""
    return problem.rewards.shape[2] - 2


def true_weights(problem: PlanningProblem) -> np.ndarray:
    """The weights (C,) of the true reward alone."""
    return np.eye(problem.rewards.shape[2])[TRUE]


def label_weights(reward: np.ndarray) -> np.ndarray:
    """The weights (C,) of a reward on overseer observations, (L,)."""
    return np.concatenate([np.zeros(2), reward])


def label_counts(problem: PlanningProblem, reward: np.ndarray) -> np.ndarray:
    """The counts of overseer observations, (L,), of a plan that is optimal for a reward on them, (L,)."""
    return optimal_components(problem, label_weights(reward))[LABELS]


class AliasGap(NamedTuple):
    """The largest difference in true return of two plans that the overseer cannot distinguish."""

    value: float
    is_exact: bool  # else a lower bound


def alias_gap(problem: PlanningProblem) -> AliasGap:
    """Computes max U.(mu - mu') over pairs of plans with equal counts, by column generation.

    Both are mixtures of the plans found so far. The dual prices of the equal counts give the plans to add; they
    prove optimality when no plan improves the gap.

    Args:
        problem: The planning problem.

    Returns:
        The gap, at least 0, and whether column generation converged.
    """
    truth = true_weights(problem)
    columns = np.array([optimal_components(problem, truth), optimal_components(problem, -truth)])
    for _ in range(min(MAX_ROUNDS, max(3, MAX_WORK // (problem.rewards.size * problem.horizon)))):
        value, prices = _mixture_gap(columns)
        weights = truth + label_weights(prices)
        above, below = optimal_components(problem, weights), optimal_components(problem, -weights)
        bound = (above - below) @ weights
        if bound <= value + EXACT * max(1, abs(bound)):
            return AliasGap(max(value, 0.0) + 0.0, True)
        columns = np.vstack([columns, above, below])
    return AliasGap(max(value, 0.0) + 0.0, False)


def _mixture_gap(columns: np.ndarray) -> tuple[float, np.ndarray]:
    """The gap between two mixtures of plans (n, C) with equal counts, and the dual prices (L,) of the counts."""
    n = len(columns)
    truth, counts = columns[:, TRUE], columns[:, LABELS].T
    equal = np.vstack([np.hstack([counts, -counts]), np.repeat(np.eye(2), n, 1)])
    limits = np.append(np.zeros(len(counts)), [1, 1])
    solution = optimize.linprog(np.append(-truth, truth), A_eq=equal, b_eq=limits, method="highs")
    return float(-solution.fun), solution.eqlin.marginals[:-2]
