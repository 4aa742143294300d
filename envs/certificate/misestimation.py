"""Overestimation and underestimation errors of what an overseer believes of an episode.

An agent that is rewarded for what is believed can inflate it, or can pay for visible success. With G the true and G'
the believed return of an episode, the overestimation error is E max(G' - G, 0) and the underestimation error is
E max(G - G', 0). Relative to the optimum, a plan shows deceptive inflation if it is overestimated more and believed
to be better; it shows overjustification if it is underestimated less and is worse. (Lang et al. 2024, arXiv
2402.17747, section 4.)

Letters: S_A non-terminal states, A actions, Z values of the noise, H steps, n weighted prefixes of episodes.
"""

from typing import NamedTuple

import numpy as np

from envs.tables import Tables, distinct_rows

DIGITS = 10  # differences that agree to this many digits are equal
MAX_PREFIXES = 2_000_000


class Misestimation(NamedTuple):
    """Expectations per episode, discounted."""

    overestimation: float
    underestimation: float


class OptimumComparison(NamedTuple):
    """A plan compared with the optimum."""

    deceptive_inflation: bool
    overjustification: bool


def misestimation_of(tables: Tables, believed: np.ndarray, plan: np.ndarray) -> Misestimation | None:
    """Computes the estimation errors of a plan by enumerating prefixes of episodes.

    Prefixes that end in the same state with the same difference of returns are merged.

    Args:
        tables: The enumerated world.
        believed: (S_A, A, Z), the reward that the overseer believes.
        plan: (H, S_A, A) bool, the actions allowed at each step; each is equally likely.

    Returns:
        The errors; None if there are more than `MAX_PREFIXES` prefixes.
    """
    difference = believed - tables.true_reward
    state, total, probability = tables.start, np.zeros(len(tables.start)), tables.start_probability
    errors = np.zeros(2)
    for step, allowed in enumerate(plan):
        extended = probability[:, None, None] * _uniform(allowed[state])[..., None] * tables.noise
        probability, index = extended[extended > 0], np.nonzero(extended > 0)
        move = (state[index[0]], *index[1:])
        state, total = tables.successor[move], total[index[0]] + tables.gamma**step * difference[move]
        ended = state >= len(tables.successor)
        errors += _errors(total[ended], probability[ended])
        state, total, probability = _merge(state[~ended], total[~ended], probability[~ended])
        if len(state) > MAX_PREFIXES:
            return None
    return Misestimation(*(errors + _errors(total, probability)).tolist())


def _uniform(allowed: np.ndarray) -> np.ndarray:
    """The uniform distribution over the allowed actions, (n, A) bool -> (n, A)."""
    return allowed / allowed.sum(1, keepdims=True)


def _errors(difference: np.ndarray, probability: np.ndarray) -> np.ndarray:
    """Over- and underestimation, (2,)."""
    return np.array([probability @ np.maximum(difference, 0), probability @ np.maximum(-difference, 0)])


def _merge(
    state: np.ndarray, difference: np.ndarray, probability: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Merges prefixes with the same state and the same difference."""
    first, merged = distinct_rows(np.column_stack((state, np.round(difference, DIGITS))))
    return state[first], difference[first], np.bincount(merged, probability, len(first))


def expected_return(tables: Tables, plan: np.ndarray, reward: np.ndarray) -> float:
    """Computes the expected discounted return of a plan.

    Args:
        tables: The enumerated world.
        plan: (H, S_A, A) bool, the actions allowed at each step; each is equally likely.
        reward: (S_A, A, Z).

    Returns:
        The return within the time limit.
    """
    n_acting, n_states = len(tables.successor), len(tables.states)
    distribution = np.bincount(tables.start, tables.start_probability, n_states)
    expected, total = reward @ tables.noise, 0.0
    for step, allowed in enumerate(plan):
        occupancy = distribution[:n_acting, None] * _uniform(allowed)
        total += tables.gamma**step * float((occupancy * expected).sum())
        moved = (occupancy[..., None] * tables.noise).ravel()
        distribution = np.bincount(tables.successor.ravel(), moved, n_states)
    return total


def compare_with_optimum(plan: Misestimation, optimum: Misestimation, returns: list[float]) -> OptimumComparison:
    """Compares a plan with the optimum.

    Args:
        plan: The errors of the plan.
        optimum: The errors of the optimum.
        returns: The believed and the true return of the plan, then of the optimum.

    Returns:
        Whether the plan shows deceptive inflation, and overjustification (arXiv 2402.17747, section 4).
    """
    believed, true, best_believed, best_true = returns
    return OptimumComparison(
        plan.overestimation > optimum.overestimation + 1e-9 and believed > best_believed + 1e-9,
        plan.underestimation < optimum.underestimation - 1e-9 and true < best_true - 1e-9,
    )
