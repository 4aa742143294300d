"""Rolls out N copies of a world by look-up in its tables, and stores each step as table indices.

Observations are stored as indices, so a policy is evaluated once for each distinct one. Whole episodes are stored one
below the other: most are short, and columns of their own would be mostly padding.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from agents.acting import ActingCoins
from envs import Tables

Cumulative = Callable[[np.ndarray], np.ndarray]
"""(n,) indices of observations -> (A, n) cumulative probabilities of their actions.

Where two policies act, O is added to the index of an observation that the second acts on.
"""


class Trajectories(NamedTuple):
    """T steps in each of N columns. Where a column is not live it has no step, and all entries are 0."""

    transition: np.ndarray  # (T, N) int, the position of state, action and noise in the raveled tables (S_A, A, Z)
    observation: np.ndarray  # (T, N) int, an index of tables.observations, plus O where a second policy acts
    action: np.ndarray  # (T, N) int
    reward: np.ndarray  # (T, N) float, the proxy reward
    true_reward: np.ndarray  # (T, N) float
    overseer_obs: np.ndarray  # (T, N) int
    reached: np.ndarray  # (T, N) int, the state each step reached, before any reset
    dones: np.ndarray  # (T, N) bool
    timeouts: np.ndarray  # (T, N) bool, ended by the time limit alone
    live: np.ndarray  # (T, N) bool
    next_state: np.ndarray  # (N,) int, state in which a column continues; unused where its last step ended an episode


class TableRollout:
    """N copies of a world with tables.

    Args:
        tables: of the world.
        n_envs: N, number of copies.
        generator: source of every draw.
        coins: the copies in which a second policy acts; None: one policy acts.

    Attributes:
        state: (N,) int, current state of each copy.
        elapsed: (N,) int, steps done in its episode.
    """

    def __init__(
        self, tables: Tables, n_envs: int, generator: np.random.Generator, coins: ActingCoins | None = None
    ) -> None:
        self.tables, self.n_envs, self.generator, self.coins = tables, n_envs, generator, coins
        self._start_cdf = np.cumsum(tables.start_probability)
        self._noise_cdf = np.cumsum(tables.noise)[:-1]
        self._successor = tables.successor.ravel()
        self._results = [table.ravel() for table in (tables.reward, tables.true_reward, tables.overseer_obs)]
        self.state = self._starts(generator.random(n_envs))  # (N,) int
        self.elapsed = np.zeros(n_envs, np.int64)

    def steps(self, count: int, cumulative: Cumulative) -> Trajectories:
        """Roll out `count` further steps, one column for each copy; a copy restarts when its episode ends.

        Args:
            count: T.
            cumulative: the policy's cumulative action probabilities.
        """
        columns = zip(*(self._step_and_restart(cumulative) for _ in range(count)), strict=True)
        return Trajectories(*[*map(np.stack, columns), self.state])

    def snapshot(self) -> dict[str, Any]:
        """Return the state of the copies and of the generator as plain data."""
        generator = self.generator.bit_generator.state
        return {"state": self.state.copy(), "elapsed": self.elapsed.copy(), "generator": generator}

    def restore(self, state: dict[str, Any]) -> None:
        """Restore the state that `snapshot` returned."""
        self.state, self.elapsed = state["state"].copy(), state["elapsed"].copy()
        self.generator.bit_generator.state = state["generator"]

    def episodes(self, cumulative: Cumulative) -> Trajectories:
        """Roll out one whole episode with each copy.

        Start states are a stratified sample: one from each N-th part of the start distribution. Each state keeps its
        probability, and the sample is closer to the distribution than independent draws.

        Args:
            cumulative: the policy's cumulative action probabilities.
        """
        copies = np.arange(self.n_envs)
        state = self._starts((copies + self.generator.random(self.n_envs)) / self.n_envs)
        steps, live_copies = [], []
        if self.coins is not None:
            self.coins.toss(np.ones(self.n_envs, bool))
        for step in range(1, self.tables.horizon + 1):
            results = self._step(state, copies, cumulative)
            reached = results[-1]
            terminated = reached >= len(self.tables.successor)
            dones = terminated | (step == self.tables.horizon)
            steps.append((*results, dones, dones & ~terminated))
            live_copies.append(copies)
            copies, state = copies[~dones], reached[~dones]
            if not len(copies):
                break
        return pack_episodes(live_copies, [np.concatenate(column) for column in zip(*steps, strict=True)])

    def _step_and_restart(self, cumulative: Cumulative) -> tuple[np.ndarray, ...]:
        results = self._step(self.state, slice(None), cumulative)
        reached = results[-1]
        self.elapsed += 1
        terminated = reached >= len(self.tables.successor)
        dones = terminated | (self.elapsed >= self.tables.horizon)
        self.state = reached.copy()
        self.state[dones] = self._starts(self.generator.random(int(dones.sum())))
        self.elapsed[dones] = 0
        if self.coins is not None:
            self.coins.toss(dones)
        return *results, dones, dones & ~terminated, np.ones_like(dones)

    def _step(self, state: np.ndarray, copies: np.ndarray | slice, cumulative: Cumulative) -> tuple[np.ndarray, ...]:
        """The first seven fields of `Trajectories` for one step of some copies, (n,) each."""
        observation = self.tables.observation.take(state)
        if self.coins is not None:
            observation = observation + self.coins.deployed[copies] * len(self.tables.observations)
        draws = self.generator.random(len(state))
        action = np.zeros(len(state), np.intp)
        for probability in cumulative(observation)[:-1]:
            action += draws >= probability
        index = self._transition_index(state, action)
        results = (table.take(index) for table in self._results)
        return index, observation, action, *results, self._successor.take(index)

    def _starts(self, draws: np.ndarray) -> np.ndarray:
        """(n,) in [0, 1) -> (n,) states, by the inverse of the start distribution."""
        return self.tables.start[np.searchsorted(self._start_cdf[:-1], draws * self._start_cdf[-1], side="right")]

    def _transition_index(self, state: np.ndarray, action: np.ndarray) -> np.ndarray:
        """(n,) index of state, action and a drawn noise in the raveled tables."""
        _, n_actions, n_noise = self.tables.successor.shape
        index = state * n_actions + action
        if n_noise == 1:
            return index
        return index * n_noise + np.searchsorted(self._noise_cdf, self.generator.random(len(state)), side="right")


def pack_episodes(live_copies: Sequence[np.ndarray], columns: Sequence[np.ndarray]) -> Trajectories:
    """Pack episodes below each other, those of equal length together, in columns twice as high as the longest.

    Args:
        live_copies: for each step, (n,) int, the copies whose episode has this step.
        columns: the first nine fields of `Trajectories`, each (sum of n,), step by step.
    """
    episode = np.concatenate(live_copies)
    step = np.repeat(np.arange(len(live_copies)), [len(copies) for copies in live_copies])
    length = np.bincount(episode)
    height = 2 * len(live_copies)
    top, column = _positions(length, height)
    position = top[episode] + step, column[episode]
    shape = (height, int(column.max()) + 1)

    def packed(values: np.ndarray) -> np.ndarray:
        field = np.zeros(shape, values.dtype)
        field[position] = values
        return field

    return Trajectories(*[*map(packed, columns), packed(np.ones_like(step, bool)), np.zeros(shape[1], np.int64)])


def _positions(length: np.ndarray, height: int) -> tuple[np.ndarray, np.ndarray]:
    """First row and column, (n,) each, of n episodes of these lengths."""
    count = np.bincount(length, minlength=height + 1)
    rank = np.empty(len(length), np.int64)  # of an episode among those of its length
    rank[np.argsort(length.astype(np.min_scalar_type(height)), kind="stable")] = np.concatenate(
        [np.arange(n) for n in count]
    )
    per_column = height // np.maximum(np.arange(height + 1), 1)  # episodes of a length in a column
    columns = -(-count // per_column)
    first_column = np.cumsum(columns) - columns
    row, column = rank % per_column[length], rank // per_column[length]
    return row * length, first_column[length] + column
