"""Optimal return of an agent with memory, by dynamic programming over beliefs.

The belief (the distribution of the state given all past observations and actions) is a sufficient statistic, so the
beliefs are the states of a Markov decision process (Astrom 1965). The beliefs reachable within the time limit are
enumerated where they are few.

Letters: S_A non-terminal states, A actions, Z values of the noise, B beliefs reachable at one step.
"""

import numpy as np
from scipy import sparse

from envs.tables import Tables, distinct_rows

DIGITS = 10
MAX_BELIEFS = 5_000  # at one step


def history_optimal(tables: Tables) -> float | None:
    """Computes the optimal true return of an agent that remembers its observations and actions.

    The agent observes every non-terminal state that it visits. It does not observe rewards.

    Args:
        tables: The enumerated world.

    Returns:
        The expected discounted true return per episode within the time limit; None if more than `MAX_BELIEFS`
        beliefs are reachable at some step.
    """
    n_acting = len(tables.successor)
    start = np.bincount(tables.start, tables.start_probability, n_acting)[None]
    first, beliefs = _condition(tables, start)
    layers = [beliefs]
    transitions = []
    for _ in range(tables.horizon - 1):
        transition, beliefs = _condition(tables, _predict(tables, beliefs))
        transitions.append(transition)
        layers.append(beliefs)
        if len(beliefs) > MAX_BELIEFS:
            return None
    return float((first @ _value(tables, layers, transitions))[0])


def _value(tables: Tables, layers: list[np.ndarray], transitions: list[sparse.csr_array]) -> np.ndarray:
    """The optimal value of each belief of the first step, (B,), by backward induction."""
    expected = tables.true_reward @ tables.noise
    value = (layers[-1] @ expected).max(1, initial=-np.inf)
    for beliefs, transition in zip(layers[-2::-1], transitions[::-1], strict=True):
        reward = beliefs @ expected
        value = (reward + tables.gamma * (transition @ value).reshape(reward.shape)).max(1)
    return value


def _predict(tables: Tables, beliefs: np.ndarray) -> np.ndarray:
    """The unnormalised distribution of the next non-terminal state, (B, S_A) -> (B * A, S_A)."""
    n_acting, n_actions, _ = tables.successor.shape
    acting = tables.successor < n_acting
    probability = np.broadcast_to(tables.noise, acting.shape)
    origin, action, _ = np.nonzero(acting)
    column = action * n_acting + tables.successor[acting]
    move = sparse.csr_array((probability[acting], (origin, column)), (n_acting, n_actions * n_acting))
    return (move.T @ beliefs.T).T.reshape(-1, n_acting)


def _condition(tables: Tables, weights: np.ndarray) -> tuple[sparse.csr_array, np.ndarray]:
    """Conditions state weights (n, S_A) on the observation: probabilities (n, B) of the beliefs (B, S_A)."""
    n_acting = len(tables.successor)
    indicator = sparse.csr_array((np.ones(n_acting), (np.arange(n_acting), tables.observation)))
    likelihood = weights @ indicator
    row, observation = np.nonzero(likelihood > 0)
    posterior = weights[row] * (tables.observation == observation[:, None]) / likelihood[row, observation][:, None]
    first, belief = distinct_rows(np.round(posterior, DIGITS))
    probability = sparse.csr_array((likelihood[row, observation], (row, belief)), (len(weights), len(first)))
    return probability, posterior[first]
