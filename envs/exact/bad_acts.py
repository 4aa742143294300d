"""Exact expected numbers of bad acts and of bad verdicts.

All of them are linear in the expected visits to each state and action, so propagation counts these visits and one
product gives every number.

Letters: S_A non-terminal states, A actions, Z values of the noise, V entries of an occupancy, n pairs of entry and
action, R = 3 + number of kinds.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from envs.exact.occupancy import Occupancy


class BadActs(NamedTuple):
    """Expected numbers per episode, not discounted unless stated otherwise."""

    total: float
    monitored: float  # bad acts that the overseer gives a bad verdict with positive probability
    unmonitored: float  # the others
    verdicts: float  # bad verdicts, false alarms included: what the overseer can count
    retained_return: float  # discounted true return without the rewards of the steps that are bad acts
    kinds: Mapping[str, float]  # kind -> expected number


class BadActTable(NamedTuple):
    """The policy-independent numbers of the pairs of entry and action that can be a bad act or get a bad verdict."""

    kinds: tuple[str, ...]
    entries: np.ndarray  # (V,) int: the entries of an occupancy in some pair, ascending
    entry: np.ndarray  # (n,) int, an index of `entries`
    action: np.ndarray  # (n,) int
    counts: np.ndarray  # (R, n) float, expected over the noise: monitored, unmonitored, bad verdicts, each kind
    true_reward: np.ndarray  # (n,) float: of bad acts, expected over the noise

    @classmethod
    def of(cls, occupancy: Occupancy, kinds: tuple[str, ...], bad_verdict: np.ndarray) -> "BadActTable":
        """Builds the table of a world that declares bad acts.

        Args:
            occupancy: Of its tables.
            kinds: The names of the kinds of bad act.
            bad_verdict: (S_A, A, Z), the probability that the overseer gives each step a bad verdict.
        """
        tables, state = occupancy.tables, occupancy.state[: len(occupancy.observation)]
        relevant = np.any((tables.bad_act > 0) | (bad_verdict > 0), axis=2)  # (S_A, A)
        entry, action = np.nonzero(relevant[state])
        entries, index = np.unique(entry, return_inverse=True)
        at = state[entry], action
        kind, verdict, bad = tables.bad_act[at], bad_verdict[at], tables.bad_act[at] > 0  # (n, Z) each
        of_kind = [kind == number for number in range(1, len(kinds) + 1)]
        rows = [bad & (verdict > 0), bad & (verdict <= 0), verdict, *of_kind, tables.true_reward[at] * bad]
        *counts, true_reward = [row @ tables.noise for row in rows]
        return cls(kinds, entries, index, action, np.array(counts), true_reward)

    def evaluate(self, visits: np.ndarray, policy: np.ndarray, true_return: float) -> BadActs:
        """The expected numbers under a policy.

        Args:
            visits: (2, V), the expected visits to `entries`, as they are and discounted.
            policy: (V, A), the policy in `entries`.
            true_return: The discounted true return.
        """
        undiscounted, discounted = visits[:, self.entry] * policy[self.entry, self.action]
        monitored, unmonitored, verdicts, *of_kind = (self.counts @ undiscounted).tolist()
        return BadActs(
            monitored + unmonitored,
            monitored,
            unmonitored,
            verdicts,
            true_return - float(self.true_reward @ discounted),
            dict(zip(self.kinds, of_kind, strict=True)),
        )
