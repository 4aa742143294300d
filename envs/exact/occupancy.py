"""A start distribution, pushed through a world of tables step by step.

It goes apart for episodes whose start is under the overseer's eye and for the others. A state that both can reach
stands here twice; in most worlds none does, for what is watched is settled at the start.

Letters: S states of which the first S_A are not terminal, A actions, Z values of the noise, O observations, H steps
of the time limit, C states told apart of which the first C_A are not terminal.
"""

from typing import NamedTuple

import numpy as np
from scipy import sparse

from envs.tables import Tables


class Occupancy(NamedTuple):
    """What of a world's tables is the same for all policies. Of the states acted in, unseen ones come first."""

    tables: Tables
    seen_from: int  # of the states acted in, the first that is one of seen episodes
    start: np.ndarray  # (C,) float: the start distribution
    successor: np.ndarray  # (C_A, A, Z) int, an index of (C,)
    rewards: np.ndarray  # (2, C_A, A) float: true and proxy, expected over the noise
    observation: np.ndarray  # (C_A,) int, an index of observations
    outcome: np.ndarray  # (C,) int, an index of outcomes

    @classmethod
    def of(cls, tables: Tables) -> "Occupancy":
        """The course of a world."""
        law, n_acting = start_distribution(tables).T, len(tables.successor)  # (2, S)
        reached = np.stack([reachable(tables, start > 0) for start in law])
        seen, state = np.nonzero(reached)  # (C,) each: unseen before seen
        order = np.argsort(state >= n_acting, kind="stable")
        seen, state = seen[order], state[order]
        place = np.zeros(reached.shape, np.int32)  # (2, S), an index of (C,)
        place[seen, state] = np.arange(len(state))
        n = int((state < n_acting).sum())
        acting = state[:n]
        return cls(
            tables,
            n - int(seen[:n].sum()),
            law[seen, state],
            place[seen[:n, None, None], tables.successor[acting]],
            np.stack([tables.true_reward @ tables.noise, tables.reward @ tables.noise])[:, acting],
            tables.observation[acting],
            tables.outcome[state],
        )


def reachable(tables: Tables, start: np.ndarray) -> np.ndarray:
    """(S,) bool: the states that can be reached from some, (S,) bool, they among them."""
    met, n_acting = start.copy(), len(tables.successor)
    fresh = np.flatnonzero(start[:n_acting])
    while len(fresh):
        after = np.zeros_like(met)
        after[tables.successor[fresh]] = True
        fresh = np.flatnonzero((after & ~met)[:n_acting])
        met |= after
    return met


def propagate(course: Occupancy, policy: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pushes the start distribution through all steps of the time limit under a policy (O, A).

    Returns the expected true reward, proxy reward, and number of copies still acting at each step, (H, 3, 2),
    in episodes unseen and seen; and the probability that an episode ends in each state, (C,).
    """
    by_state = policy.take(course.observation, 0)
    n, m = len(by_state), course.seen_from
    paid = np.einsum("vsa,sa->vs", course.rewards, by_state)
    rewards = np.stack([*paid, by_state @ np.ones(by_state.shape[1])])  # (3, C_A)
    forward = flow(course.successor, course.tables.noise, by_state, len(course.start))
    here, ended = course.start, np.zeros(len(course.start))
    earned = np.zeros((course.tables.horizon, 3, 2))
    for step in range(course.tables.horizon):
        ended[n:] += here[n:]
        earned[step, :, 0] = rewards[:, :m] @ here[:m]
        earned[step, :, 1] = rewards[:, m:] @ here[m:n]
        here = forward @ here[:n]
    return earned, ended + here


def start_distribution(tables: Tables) -> np.ndarray:
    """The start distribution over states, unseen and seen, (S, 2)."""
    here = np.zeros((len(tables.states), 2))
    np.add.at(here, (tables.start, tables.watched[tables.start].astype(int)), tables.start_probability)
    return here


def forward_matrix(tables: Tables, policy: np.ndarray) -> sparse.csc_array:
    """(S, S_A): from where the agent acts to where it gets, by a policy that sees the state, (S_A, A)."""
    return flow(tables.successor, tables.noise, policy, len(tables.states))


def flow(successor: np.ndarray, noise: np.ndarray, policy: np.ndarray, n_states: int) -> sparse.csc_array:
    """(n_states, n): from each of n states to its successors (n, A, Z), by a policy (n, A)."""
    probability = (policy[:, :, None] * noise).ravel()
    rows = np.arange(len(policy) + 1) * successor[0].size
    return sparse.csr_array((probability, successor.ravel(), rows), (len(policy), n_states)).T
