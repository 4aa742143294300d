"""N copies of a world walk through its tables, and what they meet is kept as rows of the tables.

Nothing is written out: an observation is its index, so a policy need be asked only once for each distinct one.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from envs import Tables

Array = np.ndarray


class Path(NamedTuple):
    """T steps of N copies."""

    observation: Array  # (T, N) int, an index of tables.observations
    action: Array  # (T, N) int
    reward: Array  # (T, N) float, the proxy
    true_reward: Array  # (T, N) float
    overseer_obs: Array  # (T, N) int
    reached: Array  # (T, N) int, the state each step reached, before any reset
    dones: Array  # (T, N) bool
    timeouts: Array  # (T, N) bool: ended by the time limit alone


class Walk:
    """Copies that restart as soon as their episode ends.

    Args:
        tables: of the world.
        copies: N.
        generator: every draw comes from it.
    """

    def __init__(self, tables: Tables, copies: int, generator: np.random.Generator) -> None:
        self.tables, self.copies, self.generator = tables, copies, generator
        self._law = np.cumsum(tables.start_probability)
        self._noise = np.cumsum(tables.noise)[:-1]
        self.state = self._starts(copies)  # (N,) int
        self.elapsed = np.zeros(copies, np.int64)

    def _starts(self, n: int) -> Array:
        draws = self.generator.random(n) * self._law[-1]
        return self.tables.start[np.searchsorted(self._law[:-1], draws, side="right")]

    def snapshot(self) -> dict[str, Any]:
        """Where the copies are, and what chance will bring."""
        generator = self.generator.bit_generator.state
        return {"state": self.state.copy(), "elapsed": self.elapsed.copy(), "generator": generator}

    def restore(self, state: dict[str, Any]) -> None:
        """Goes on where `snapshot` was taken."""
        self.state, self.elapsed = state["state"].copy(), state["elapsed"].copy()
        self.generator.bit_generator.state = state["generator"]

    def steps(self, count: int, cumulative: Callable[[Array], Array]) -> Path:
        """Walk on by `count` steps.

        Args:
            cumulative: (N,) indices of observations -> (N, A) cumulative probabilities of their actions.
        """
        return Path(*map(np.stack, zip(*(self._step(cumulative) for _ in range(count)), strict=True)))

    def _step(self, cumulative: Callable[[Array], Array]) -> tuple[Array, ...]:
        tables = self.tables
        observation = tables.observation[self.state]
        draws = self.generator.random(self.copies)
        action = (draws[:, None] >= cumulative(observation)[:, :-1]).sum(1)
        at = self._index(action)
        reached = tables.successor.ravel().take(at)
        self.elapsed += 1
        terminated = reached >= len(tables.successor)
        dones = terminated | (self.elapsed >= tables.horizon)
        told = (table.ravel().take(at) for table in (tables.reward, tables.true_reward, tables.overseer_obs))
        self.state = reached.copy()
        self.state[dones] = self._starts(int(dones.sum()))
        self.elapsed[dones] = 0
        return observation, action, *told, reached, dones, dones & ~terminated

    def _index(self, action: Array) -> Array:
        """(N,) where this state, action and a drawn noise stand in the raveled tables."""
        _, n_actions, n_noise = self.tables.successor.shape
        at = self.state * n_actions + action
        if n_noise == 1:
            return at
        return at * n_noise + np.searchsorted(self._noise, self.generator.random(self.copies), side="right")
