"""N copies of a world walk through its tables, and what they meet is kept as rows of the tables.

Nothing is written out: an observation is its index, so a policy need be asked only once for each distinct one.
Whole episodes are kept one below the other, for most are short and the longest is long.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from envs import Tables

Cumulative = Callable[[np.ndarray], np.ndarray]
"""(n,) indices of observations -> (A, n) cumulative probabilities of their actions."""


class Trajectories(NamedTuple):
    """T steps in each of N columns. Where a column is not live nothing was walked, and all entries are 0."""

    observation: np.ndarray  # (T, N) int, an index of tables.observations
    action: np.ndarray  # (T, N) int
    reward: np.ndarray  # (T, N) float, the proxy
    true_reward: np.ndarray  # (T, N) float
    overseer_obs: np.ndarray  # (T, N) int
    reached: np.ndarray  # (T, N) int, the state each step reached, before any reset
    dones: np.ndarray  # (T, N) bool
    timeouts: np.ndarray  # (T, N) bool: ended by the time limit alone
    live: np.ndarray  # (T, N) bool
    onward: np.ndarray  # (N,) int, the state in which a column goes on; of no use where its last step ended an episode


class TableRollout:
    """Copies in a world of tables.

    Args:
        tables: of the world.
        copies: N.
        generator: every draw comes from it.
    """

    def __init__(self, tables: Tables, copies: int, generator: np.random.Generator) -> None:
        self.tables, self.copies, self.generator = tables, copies, generator
        self._law = np.cumsum(tables.start_probability)
        self._noise = np.cumsum(tables.noise)[:-1]
        self._successor = tables.successor.ravel()
        self._told = [table.ravel() for table in (tables.reward, tables.true_reward, tables.overseer_obs)]
        self.state = self._starts(generator.random(copies))  # (N,) int
        self.elapsed = np.zeros(copies, np.int64)

    def steps(self, count: int, cumulative: Cumulative) -> Trajectories:
        """Walk on by `count` steps, a column for each copy; one restarts as soon as its episode ends."""
        walked = zip(*(self._restarting(cumulative) for _ in range(count)), strict=True)
        return Trajectories(*[*map(np.stack, walked), self.state])

    def snapshot(self) -> dict[str, Any]:
        """Where the copies are, and what chance will bring."""
        generator = self.generator.bit_generator.state
        return {"state": self.state.copy(), "elapsed": self.elapsed.copy(), "generator": generator}

    def restore(self, state: dict[str, Any]) -> None:
        """Goes on where `snapshot` was taken."""
        self.state, self.elapsed = state["state"].copy(), state["elapsed"].copy()
        self.generator.bit_generator.state = state["generator"]

    def episodes(self, cumulative: Cumulative) -> Trajectories:
        """Walk one whole episode with each copy.

        Starts are drawn one from each N-th part of their law: each has its probability, and together they miss
        less of the law than independent draws do.
        """
        copies = np.arange(self.copies)
        state = self._starts((copies + self.generator.random(self.copies)) / self.copies)
        walked, live = [], []
        for step in range(1, self.tables.horizon + 1):
            seen = self._step(state, cumulative)
            reached = seen[-1]
            terminated = reached >= len(self.tables.successor)
            dones = terminated | (step == self.tables.horizon)
            walked.append((*seen, dones, dones & ~terminated))
            live.append(copies)
            copies, state = copies[~dones], reached[~dones]
            if not len(copies):
                break
        return pack_episodes(live, [np.concatenate(column) for column in zip(*walked, strict=True)])

    def _restarting(self, cumulative: Cumulative) -> tuple[np.ndarray, ...]:
        seen = self._step(self.state, cumulative)
        reached = seen[-1]
        self.elapsed += 1
        terminated = reached >= len(self.tables.successor)
        dones = terminated | (self.elapsed >= self.tables.horizon)
        self.state = reached.copy()
        self.state[dones] = self._starts(self.generator.random(int(dones.sum())))
        self.elapsed[dones] = 0
        return *seen, dones, dones & ~terminated, np.ones_like(dones)

    def _step(self, state: np.ndarray, cumulative: Cumulative) -> tuple[np.ndarray, ...]:
        """Observation, action, what the step told, and the state it reached, (n,) each."""
        observation = self.tables.observation.take(state)
        draws = self.generator.random(len(state))
        action = np.zeros(len(state), np.intp)
        for probability in cumulative(observation)[:-1]:
            action += draws >= probability
        at = self._index(state, action)
        return observation, action, *(table.take(at) for table in self._told), self._successor.take(at)

    def _starts(self, draws: np.ndarray) -> np.ndarray:
        """(n,) in [0, 1) -> (n,) states, by the law of the starts."""
        return self.tables.start[np.searchsorted(self._law[:-1], draws * self._law[-1], side="right")]

    def _index(self, state: np.ndarray, action: np.ndarray) -> np.ndarray:
        """(n,) where this state, action and a drawn noise stand in the raveled tables."""
        _, n_actions, n_noise = self.tables.successor.shape
        at = state * n_actions + action
        if n_noise == 1:
            return at
        return at * n_noise + np.searchsorted(self._noise, self.generator.random(len(state)), side="right")


def pack_episodes(live: Sequence[np.ndarray], columns: Sequence[np.ndarray]) -> Trajectories:
    """Episodes below each other, those of one length together, in columns twice as high as the longest.

    Args:
        live: the episodes, numbered from 0, that had each step.
        columns: the first eight fields of `Path`, one entry for each of these, step by step.
    """
    episode = np.concatenate(live)
    step = np.repeat(np.arange(len(live)), [len(those) for those in live])
    length = np.bincount(episode)
    height = 2 * len(live)
    top, column = _places(length, height)
    at = top[episode] + step, column[episode]
    shape = (height, int(column.max()) + 1)

    def placed(values: np.ndarray) -> np.ndarray:
        field = np.zeros(shape, values.dtype)
        field[at] = values
        return field

    return Trajectories(*[*map(placed, columns), placed(np.ones_like(step, bool)), np.zeros(shape[1], np.int64)])


def _places(length: np.ndarray, height: int) -> tuple[np.ndarray, np.ndarray]:
    """Row and column, (n,) each, where n episodes of these lengths begin."""
    count = np.bincount(length, minlength=height + 1)
    among = np.empty(len(length), np.int64)  # the place of an episode among those of its length
    among[np.argsort(length.astype(np.min_scalar_type(height)), kind="stable")] = np.concatenate(
        [np.arange(n) for n in count]
    )
    fit = height // np.maximum(np.arange(height + 1), 1)  # episodes of a length in a column
    columns = -(-count // fit)
    first = np.cumsum(columns) - columns
    below, beside = among % fit[length], among // fit[length]
    return below * length, first[length] + beside
