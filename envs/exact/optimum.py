"""Optimal policies of an agent that sees the state and the clock, by backward induction over the tables.

Letters: S states of which the first S_A are not terminal, A actions, Z values of the noise.
"""

from typing import NamedTuple

import numpy as np

from envs.tables import Tables

TIE = 1e-9  # actions whose values differ by less are equally good


class Optimum(NamedTuple):
    """Returns of the optimal policies for a reward, for an agent that sees the state and the clock."""

    value: float  # optimal return of that reward
    true_return: float  # discounted, ties among optimal actions broken uniformly
    worst_true_return: float  # discounted, ties broken to the worst true return
    best: np.ndarray  # (S_A, A) bool: the optimal actions at the first step of an episode


def optimal(tables: Tables, reward: np.ndarray | None = None) -> Optimum:
    """Computes the optimal discounted return of an agent that sees the state and the clock.

    Args:
        tables: The enumerated world.
        reward: (S_A, A, Z), the reward to optimise; the true reward by default.

    Returns:
        The optimal return of `reward`, and the true returns of the policies that attain it.
    """
    true = tables.true_reward @ tables.noise
    expected = true if reward is None else reward @ tables.noise
    value, uniform, worst = np.zeros((3, len(tables.states)))
    for _ in range(tables.horizon):
        action_value, *true_values = (
            now + tables.gamma * (later[tables.successor] @ tables.noise)
            for now, later in ((expected, value), (true, uniform), (true, worst))
        )
        best = action_value >= action_value.max(1, keepdims=True) - TIE
        value[: len(expected)] = action_value.max(1)
        uniform[: len(expected)] = (true_values[0] * best).sum(1) / best.sum(1)
        worst[: len(expected)] = np.where(best, true_values[1], np.inf).min(1)
    returns = [float(tables.start_probability @ v[tables.start]) for v in (value, uniform, worst)]
    return Optimum(returns[0], returns[1], returns[2], best)
