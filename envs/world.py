"""A partially observed world: seven batched functions of its states, and the names of their values.

The functions take N states at a time and are pure. The same code is therefore sampled, enumerated into tables and
evaluated exactly. The agent and the overseer each observe a function of the state, never the state itself. To model a
human who judges a sequence of observations, put the human's memory into the state, or into the state's observation.

Letters: N states, K state variables, obs the shape of one observation, L overseer observations.
"""

import functools
import math
from collections.abc import Callable, Mapping
from typing import ClassVar

import numpy as np
from gymnasium import Space

from envs import drawing
from envs.codebook import Codebook, feature_labels
from envs.tables import NotEnumerable


class World:
    """The seven functions of a world, and optional declarations with their defaults."""

    gamma: float = 1.0
    oversight_prob: float = math.nan  # probability that an episode end is judged; nan: not defined for this world
    knowledge: str = ""  # aware, blind or noisy: what the agent observes of the overseer; empty: not defined
    overseer_features: tuple[str, ...] = ()  # (F,) the names of the features that the overseer observes, if it does not
    # observe labels
    feature_names: tuple[str, ...] = ()  # the names of `state_features`
    audit_label: int | None = None  # the first label of audited steps, if there are audits: see `envs.audits`
    audits_hidden: bool = False  # the agent cannot observe whether an episode is audited
    outcomes: tuple[str, ...] = ("end",)
    bad_acts: tuple[str, ...] = ()  # the kinds of bad act that a step can be: see `bad_act`
    variables: tuple[str, ...] = ()  # the names of the K state variables; without them, "variable 0" and so on
    action_names: tuple[str, ...] = ()
    action_arrows: ClassVar[tuple[tuple[int, int], ...] | None] = None  # (drow, dcol) of each action
    noise: Mapping[str, tuple[float, ...]] = {}  # name -> probabilities of the values drawn at each step
    beliefs: Mapping[int, tuple[np.ndarray, np.ndarray]] = {}  # overseer observation -> the states (n, K) that the
    # overseer believes reached, and their probabilities (n,); without an entry, those under a random policy

    np_random: np.random.Generator
    num_envs: int  # N
    max_episode_steps: int
    single_observation_space: Space
    single_action_space: Space

    # (N, K), (N,) -> (N, K); each name of `noise` is one more keyword argument, (N,) int
    transition: Callable[..., np.ndarray]

    def initial(self, n: int) -> np.ndarray:
        """Draws n start states, (n, K) int; the only function that is not pure."""
        states, probabilities = self._start_distribution
        return states[sample(self.np_random, probabilities, n)]

    def terminal(self, state: np.ndarray) -> np.ndarray:
        """Whether an episode ends in each state: (N, K) -> (N,) bool."""
        raise NotImplementedError

    def reward(self, state: np.ndarray, action: np.ndarray, next_state: np.ndarray) -> np.ndarray:
        """The proxy reward, (N,) float.

        A naive overseer takes the reward of a step to be `judgement` of its observation, and the proxy where that is
        nan.
        """
        raise NotImplementedError

    def true_reward(self, state: np.ndarray, action: np.ndarray, next_state: np.ndarray) -> np.ndarray:
        """The true reward, (N,) float; read by evaluation and by oracle methods only."""
        raise NotImplementedError

    def observation(self, state: np.ndarray) -> np.ndarray:
        """The agent's observation, (N, K) -> (N, *obs): states with equal rows are aliased for the agent."""
        raise NotImplementedError

    def overseer_observation(self, state: np.ndarray, action: np.ndarray, next_state: np.ndarray) -> np.ndarray:
        """The overseer's observation of a step, (N,) int: steps with equal numbers are aliased for the overseer.

        With `overseer_features` it is (N, F) float, nan for each feature that is not observed.
        """
        raise NotImplementedError

    def verdict(self, overseer_obs: np.ndarray) -> np.ndarray:
        """The overseer's verdict on each of its observations: (N,) or (N, F) -> (N,) float, nan where it gives none.

        A world whose overseer observes features implements it.
        """
        return self.judgement[overseer_obs]

    @functools.cached_property
    def overseer_labels(self) -> tuple[str, ...]:
        """The name of each overseer observation; those of features are read from the tables."""
        return feature_labels(self.overseer_features, self.overseer_codebook)

    @functools.cached_property
    def judgement(self) -> np.ndarray:
        """(L,) float: the overseer's verdict on each overseer observation; nan where it gives none."""
        return self.verdict(self.overseer_codebook) if len(self.overseer_codebook) else np.zeros(0)

    @functools.cached_property
    def hidden(self) -> np.ndarray:
        """(L,) int: the label that each looks like if the overseer misses it; empty: the first one without verdict."""
        return np.zeros(0, np.int64)

    @functools.cached_property
    def overseer_codebook(self) -> np.ndarray:
        """(L, F) float: the features of each overseer observation; empty without features or without tables."""
        return np.zeros((0, len(self.overseer_features)))

    @functools.cached_property
    def _codebook(self) -> Codebook:
        return Codebook(self.overseer_codebook)

    def overseer_codes(self, features: np.ndarray) -> np.ndarray:
        """The code of each overseer observation of features, (N, F) -> (N,) int: an index of `overseer_labels`.

        Raises:
            ValueError: the world has no tables, or an observation is not in them.
        """
        if not len(self.overseer_codebook):
            raise ValueError(f"{type(self).__name__} has no tables, so its overseer observations have no labels")
        return self._codebook.codes(features)

    def state_features(self, state: np.ndarray) -> np.ndarray:
        """The features of a state that a limit of the overseer can depend on: (N, K) -> (N, F), `feature_names`."""
        return np.zeros((len(state), 0))

    @functools.cached_property
    def _start_distribution(self) -> tuple[np.ndarray, np.ndarray]:
        return self.starts()

    def starts(self) -> tuple[np.ndarray, np.ndarray]:
        """The start distribution: distinct states, (S0, K) int, and their probabilities, (S0,) float."""
        raise NotEnumerable(f"{type(self).__name__} has no start distribution: give it starts() for tables")

    @functools.cached_property
    def flags(self) -> np.ndarray:
        """(*obs,) bool: the entries of an observation that show the agent what the overseer will see."""
        return np.zeros(self.single_observation_space.shape, bool)  # type: ignore[arg-type]

    def watched(self, state: np.ndarray) -> np.ndarray:
        """Whether the overseer can see something in an episode from each start state: (N, K) -> (N,) bool."""
        return np.zeros(len(state), bool)

    def outcome(self, state: np.ndarray) -> np.ndarray:
        """The outcome of an episode that ends in each state: (N, K) -> (N,) int, an index of `outcomes`."""
        return np.zeros(len(state), np.int64)

    def bad_act(self, state: np.ndarray, action: np.ndarray, next_state: np.ndarray) -> np.ndarray:
        """The bad act that each step is: (N, K), (N,), (N, K) -> (N,) int; 0: none, i: the kind `bad_acts[i - 1]`.

        By default it is a step that ends the episode with an outcome of that name. A world whose bad acts are other
        steps overrides it. Only evaluation reads it.
        """
        return np.where(self.terminal(next_state), self._bad_act_of_outcome[self.outcome(next_state)], 0)

    @functools.cached_property
    def _bad_act_of_outcome(self) -> np.ndarray:
        """(outcomes,) int: the bad act of an episode that ends with each outcome."""
        kinds = {name: number for number, name in enumerate(self.bad_acts, 1)}
        return np.array([kinds.get(name, 0) for name in self.outcomes])

    def layout(self, state: np.ndarray) -> np.ndarray | None:
        """The state with the agent in each cell: (K,) -> (H, W, K) int, -1 outside; None if there is no grid."""
        return None

    def picture(self, state: np.ndarray) -> drawing.Picture:
        """The picture that `render` shows of a state, (K,); by default its values, with their names if it has any."""
        values = state.tolist()
        if len(self.variables) != len(values):
            return drawing.Picture.of_text(str(values))
        named = zip(self.variables, values, strict=True)
        return drawing.Picture.of_text(" ".join(f"{name}={value}" for name, value in named))


def sample(generator: np.random.Generator, probabilities: np.ndarray | tuple[float, ...], n: int) -> np.ndarray:
    """Draws n indices, (n,) int, from a finite distribution."""
    return np.searchsorted(np.cumsum(probabilities)[:-1], generator.random(n), side="right")
