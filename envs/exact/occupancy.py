"""Propagates the start distribution of an enumerated world step by step under a policy.

The distribution is propagated separately for watched and unwatched episodes. A state that both can reach has two
entries. In most worlds no state does, because the start settles what is watched.

Letters: S states of which the first S_A are not terminal, A actions, Z values of the noise, O observations, H steps
of the time limit, C pairs of state and stratum (unwatched, watched), of which the first C_A are not terminal, V entries
of which visits are counted.
"""

from typing import NamedTuple

import numpy as np
from scipy import sparse

from envs.tables import Tables

NO_ENTRIES = np.zeros(0, np.intp)


class Occupancy(NamedTuple):
    """The policy-independent part of propagation, computed once per world.

    Among the non-terminal entries, those of unwatched episodes come first.
    """

    tables: Tables
    first_watched: int  # index of the first non-terminal entry of watched episodes
    start: np.ndarray  # (C,) float: the start distribution
    successor: np.ndarray  # (C_A, A, Z) int, an index into (C,)
    rewards: np.ndarray  # (3, C_A, A) float: true, proxy and believed reward, expected over the noise
    observation: np.ndarray  # (C_A,) int, an index of observations
    outcome: np.ndarray  # (C,) int, an index of outcomes
    state: np.ndarray  # (C,) int, an index of states

    @classmethod
    def of(cls, tables: Tables, believed: np.ndarray | None = None) -> "Occupancy":
        """Builds the occupancy of an enumerated world; `believed`, (S_A, A, Z), is the proxy reward by default."""
        start, n_acting = start_distribution(tables).T, len(tables.successor)  # (2, S)
        reached = np.stack([reachable(tables, stratum > 0) for stratum in start])
        watched, state = np.nonzero(reached)  # (C,) each: unwatched before watched
        order = np.argsort(state >= n_acting, kind="stable")
        watched, state = watched[order], state[order]
        index = np.zeros(reached.shape, np.int32)  # (2, S), an index into (C,)
        index[watched, state] = np.arange(len(state))
        n = int((state < n_acting).sum())
        rewards = tables.true_reward, tables.reward, tables.reward if believed is None else believed
        acting = state[:n]
        return cls(
            tables,
            n - int(watched[:n].sum()),
            start[watched, state],
            index[watched[:n, None, None], tables.successor[acting]],
            np.stack([reward[acting] @ tables.noise for reward in rewards]),
            tables.observation[acting],
            tables.outcome[state],
            state,
        )


def reachable(tables: Tables, start: np.ndarray) -> np.ndarray:
    """Computes the states reachable from a set of states.

    Args:
        tables: The enumerated world.
        start: (S,) bool, the set of states.

    Returns:
        (S,) bool, the reachable states, including `start`.
    """
    reached, n_acting = start.copy(), len(tables.successor)
    fresh = np.flatnonzero(start[:n_acting])
    while len(fresh):
        after = np.zeros_like(reached)
        after[tables.successor[fresh]] = True
        fresh = np.flatnonzero((after & ~reached)[:n_acting])
        reached |= after
    return reached


def propagate(
    occupancy: Occupancy, policy: np.ndarray, entries: np.ndarray = NO_ENTRIES
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Propagates the start distribution through all steps of the time limit under a policy.

    Args:
        occupancy: The policy-independent part.
        policy: (O, A), rows sum to 1.
        entries: (V,) int, the non-terminal entries of which visits are counted.

    Returns:
        (H, 4, 2), the expected true, proxy and believed reward and number of episodes still running at each step, for
        unwatched and watched episodes; (C,), the probability that an episode ends in each entry; and (2, V), the
        expected number of visits to the given entries, as they are and discounted.
    """
    by_state = policy.take(occupancy.observation, 0)
    n, m = len(by_state), occupancy.first_watched
    expected = np.einsum("vsa,sa->vs", occupancy.rewards, by_state)
    rewards = np.stack([*expected, by_state @ np.ones(by_state.shape[1])])  # (4, C_A)
    forward = flow(occupancy.successor, occupancy.tables.noise, by_state, len(occupancy.start))
    distribution, final = occupancy.start, np.zeros(len(occupancy.start))
    received = np.zeros((occupancy.tables.horizon, 4, 2))
    visits = np.zeros((2, len(entries)))
    for step in range(occupancy.tables.horizon):
        final[n:] += distribution[n:]
        received[step, :, 0] = rewards[:, :m] @ distribution[:m]
        received[step, :, 1] = rewards[:, m:] @ distribution[m:n]
        if len(entries):
            now = distribution.take(entries)
            visits += now, occupancy.tables.gamma**step * now
        distribution = forward @ distribution[:n]
    return received, final + distribution, visits


def start_distribution(tables: Tables) -> np.ndarray:
    """The start distribution over states, unwatched and watched, (S, 2)."""
    distribution = np.zeros((len(tables.states), 2))
    np.add.at(distribution, (tables.start, tables.watched[tables.start].astype(int)), tables.start_probability)
    return distribution


def forward_matrix(tables: Tables, policy: np.ndarray) -> sparse.csc_array:
    """The transition matrix (S, S_A), column to row, of a policy that sees the state, (S_A, A)."""
    return flow(tables.successor, tables.noise, policy, len(tables.states))


def flow(successor: np.ndarray, noise: np.ndarray, policy: np.ndarray, n_states: int) -> sparse.csc_array:
    """The transition matrix (n_states, n), column to row, of successors (n, A, Z) under a policy (n, A)."""
    probability = (policy[:, :, None] * noise).ravel()
    rows = np.arange(len(policy) + 1) * successor[0].size
    return sparse.csr_array((probability, successor.ravel(), rows), (len(policy), n_states)).T
