"""The best an agent can do that remembers all it has seen and done: what it believes of the state is its state.

Beliefs that can be met within the time limit are enumerated where they are few. (Astrom 1965.)

Letters: S_A states acted in, A actions, Z values of the noise, B beliefs met at one step.
"""

import numpy as np
from scipy import sparse

from envs.tables import Tables, distinct_rows

DIGITS = 10
MAX_BELIEFS = 5_000  # at one step


def history_optimal(tables: Tables) -> float | None:
    """The best true return with full memory, discounted, within the time limit; None where beliefs are too many.

    The agent sees its observation of every state that it acts in and knows what it did; rewards it does not see.
    """
    n_acting = len(tables.successor)
    start = np.bincount(tables.start, tables.start_probability, n_acting)[None]
    first, beliefs = _told(tables, start)
    met = [beliefs]
    layers = []
    for _ in range(tables.horizon - 1):
        following, beliefs = _told(tables, _moved(tables, beliefs))
        layers.append(following)
        met.append(beliefs)
        if len(beliefs) > MAX_BELIEFS:
            return None
    return float((first @ _value(tables, met, layers))[0])


def _value(tables: Tables, met: list[np.ndarray], layers: list[sparse.csr_array]) -> np.ndarray:
    """(B,): what each of the first beliefs is worth, by going backwards from the time limit."""
    paid = tables.true_reward @ tables.noise
    value = (met[-1] @ paid).max(1, initial=-np.inf)
    for beliefs, following in zip(met[-2::-1], layers[::-1], strict=True):
        earned = beliefs @ paid
        value = (earned + tables.gamma * (following @ value).reshape(earned.shape)).max(1)
    return value


def _moved(tables: Tables, beliefs: np.ndarray) -> np.ndarray:
    """(B, S_A) -> (B * A, S_A): where each action leads, ends left out."""
    n_acting, n_actions, _ = tables.successor.shape
    acting = tables.successor < n_acting
    chance = np.broadcast_to(tables.noise, acting.shape)
    origin, action, _ = np.nonzero(acting)
    column = action * n_acting + tables.successor[acting]
    move = sparse.csr_array((chance[acting], (origin, column)), (n_acting, n_actions * n_acting))
    return (move.T @ beliefs.T).T.reshape(-1, n_acting)


def _told(tables: Tables, weights: np.ndarray) -> tuple[sparse.csr_array, np.ndarray]:
    """What is believed once the observation is seen: (n, S_A) weights -> (n, B) probabilities, (B, S_A) beliefs."""
    n_acting = len(tables.successor)
    shows = sparse.csr_array((np.ones(n_acting), (np.arange(n_acting), tables.observation)))
    likely = weights @ shows
    row, seen = np.nonzero(likely > 0)
    split = weights[row] * (tables.observation == seen[:, None]) / likely[row, seen][:, None]
    first, belief = distinct_rows(np.round(split, DIGITS))
    chance = sparse.csr_array((likely[row, seen], (row, belief)), (len(weights), len(first)))
    return chance, split[first]
