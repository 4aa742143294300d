"""A partially observed world is seven batched functions of its states, and the names of what they tell.

The functions take N states at once and are pure, so the same lines of a world are sampled, enumerated into
tables, and evaluated exactly. Agent and overseer each see a function of the state, never the state.
A human who judges by the sequence of what it saw is written by what it remembers being part of the state, or
of its observation.

Letters: N states, K state variables, obs the shape of one observation, L overseer observations.
"""

import functools
import math
from collections.abc import Callable, Mapping
from typing import ClassVar

import numpy as np
from gymnasium import Space

from envs import drawing
from envs.tables import NotEnumerable


class World:
    """The seven functions, and what may be told besides, with defaults."""

    gamma: float = 1.0
    oversight_prob: float = math.nan  # probability that an ending is judged; nan: there is no such thing
    knowledge: str = ""  # aware, blind, noisy: what the agent knows of the overseer; empty: there is no such thing
    overseer_labels: tuple[str, ...] = ()  # the name of each overseer observation
    judgement: np.ndarray = np.zeros(0)  # (L,) float: the overseer's verdict on each; nan where it cannot tell
    outcomes: tuple[str, ...] = ("end",)
    action_names: tuple[str, ...] = ()
    action_arrows: ClassVar[tuple[tuple[int, int], ...] | None] = None  # (drow, dcol) of each action
    noise: Mapping[str, tuple[float, ...]] = {}  # what chance draws at each step, by name
    beliefs: Mapping[int, tuple[np.ndarray, np.ndarray]] = {}  # which states (n, K) the overseer thinks reached, and
    # with what probabilities (n,), by its observation; without an entry, as if the agent walked at random

    np_random: np.random.Generator
    num_envs: int  # N
    max_episode_steps: int
    single_observation_space: Space
    single_action_space: Space

    # (N, K), (N,) -> (N, K); each named noise is one more keyword argument, (N,) int
    transition: Callable[..., np.ndarray]

    def initial(self, n: int) -> np.ndarray:
        """Draws n states of the start distribution, (N, K) int; the one function that is not pure."""
        states, probabilities = self._start_distribution
        return states[sample(self.np_random, probabilities, n)]

    def terminal(self, state: np.ndarray) -> np.ndarray:
        """(N, K) -> (N,) bool."""
        raise NotImplementedError

    def reward(self, state: np.ndarray, action: np.ndarray, next_state: np.ndarray) -> np.ndarray:
        """The proxy that everyone sees, (N,) float: what a naive overseer believes where it cannot tell.

        A naive overseer believes `judgement` of its observation of a step, and where that is nan the proxy.
        """
        raise NotImplementedError

    def true_reward(self, state: np.ndarray, action: np.ndarray, next_state: np.ndarray) -> np.ndarray:
        """What is really wanted, (N,) float; read by evaluation and by oracles only."""
        raise NotImplementedError

    def observation(self, state: np.ndarray) -> np.ndarray:
        """(N, K) -> (N, *obs): states with equal rows are aliased for the agent."""
        raise NotImplementedError

    def overseer_observation(self, state: np.ndarray, action: np.ndarray, next_state: np.ndarray) -> np.ndarray:
        """(N,) int: steps with equal numbers are aliased for the overseer."""
        raise NotImplementedError

    @functools.cached_property
    def _start_distribution(self) -> tuple[np.ndarray, np.ndarray]:
        return self.starts()

    def starts(self) -> tuple[np.ndarray, np.ndarray]:
        """The start distribution written out: distinct states (S0, K) and their probabilities (S0,)."""
        name = type(self).__name__
        raise NotEnumerable(f"{name} does not write out its start distribution: give it starts() for tables")

    @functools.cached_property
    def flags(self) -> np.ndarray:
        """(*obs,) bool: entries of an observation that tell the agent what the overseer will see."""
        return np.zeros(self.single_observation_space.shape, bool)  # type: ignore[arg-type]

    def watched(self, state: np.ndarray) -> np.ndarray:
        """(N, K) -> (N,) bool: something in this start state is under the overseer's eye."""
        return np.zeros(len(state), bool)

    def outcome(self, state: np.ndarray) -> np.ndarray:
        """(N, K) -> (N,) int: what an episode that ends in this state ended as, an index of `outcomes`."""
        return np.zeros(len(state), np.int64)

    def layout(self, state: np.ndarray) -> np.ndarray | None:
        """(K,) -> (H, W, K) int: the state with the agent in each cell, -1 where none is; None: no grid."""
        return None

    def picture(self, state: np.ndarray) -> drawing.Picture:
        """(K,) -> what a render shows."""
        return drawing.Picture.of_text(str(state.tolist()))


def sample(generator: np.random.Generator, probabilities: np.ndarray | tuple[float, ...], n: int) -> np.ndarray:
    """(n,) int drawn from a finite law."""
    return np.searchsorted(np.cumsum(probabilities)[:-1], generator.random(n), side="right")
