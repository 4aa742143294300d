"""Vector wrappers that change what the agent observes and leave the rest of the environment unchanged.

The wrappers accept any Gymnasium vector environment with array observations and same-step autoreset. Around a world
with tables, a wrapper that is a pure function of the observation has tables again, so exact numbers stay exact.

Letters: N copies, obs the shape of an observation.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from gymnasium import Space
from gymnasium.vector import AutoresetMode, VectorEnv, VectorWrapper
from gymnasium.vector.utils import batch_space

from envs import arguments
from envs.enumeration import compile_world
from envs.knowledge import KNOWLEDGE, shown_flags
from envs.snapshot import SnapshotState, require_snapshots
from envs.tables import NotEnumerable, Tables, distinct_rows

Seed = int | Sequence[int | None] | None


class AgentView(VectorWrapper):
    """Base class: the agent observes `view(obs)`; all other attributes are those of the wrapped environment."""

    def __init__(self, env: VectorEnv) -> None:
        super().__init__(env)
        if env.metadata.get("autoreset_mode") is not AutoresetMode.SAME_STEP:
            raise ValueError(f"{env} does not restart in the step that ends an episode: use AutoresetMode.SAME_STEP")

    def view(self, obs: np.ndarray) -> np.ndarray:
        """What the agents observe: (N, *obs) -> (N, *obs')."""
        raise NotImplementedError

    def begin(self, started: np.ndarray) -> None:
        """Called when an episode starts in the copies marked by `started`, (N,) bool."""

    def reset(self, *, seed: Seed = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict[str, Any]]:
        """Restarts every copy, or those marked by the option "reset_mask"."""
        started = np.array((options or {}).get("reset_mask", np.ones(self.num_envs, bool)))  # Gymnasium removes it
        obs, info = self.env.reset(seed=seed, options=options)  # type: ignore[arg-type]  # a list is one of ours
        self.begin(started)
        return self.view(obs), info

    def step(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Steps every copy; `view` also applies to the final observations in `info`."""
        obs, reward, terminated, truncated, info = self.env.step(actions)
        if "final_obs" in info:
            info["final_obs"] = self._final(obs, info["final_obs"], info["_final_obs"])
            self.begin(info["_final_obs"])
        return self.view(obs), reward, terminated, truncated, info

    def _final(self, obs: np.ndarray, final: np.ndarray, ended: np.ndarray) -> np.ndarray:
        """(N,) object: the final observations as the agents observe them, None where no episode ended."""
        last, viewed = obs.copy(), np.full(len(final), None, object)
        for i in np.flatnonzero(ended):
            last[i] = final[i]
        last = self.view(last)
        for i in np.flatnonzero(ended):
            viewed[i] = last[i]
        return viewed

    def snapshot(self) -> SnapshotState:
        """The state of the wrapped environment; raises SnapshotUnsupported if it has no snapshots."""
        return {"env": require_snapshots(self.env).snapshot()}

    def restore(self, state: SnapshotState) -> None:
        """Continues from a snapshot."""
        require_snapshots(self.env).restore(state["env"])

    def observation(self, state: np.ndarray) -> np.ndarray:
        """What an agent observes in these states, (N, *obs'), if the wrapped environment is a world."""
        return self.view(self.env.observation(state))  # type: ignore[attr-defined]

    def tabulate(self) -> Tables:
        """The wrapped world's tables with `view` applied; raises NotEnumerable."""
        tables = compile_world(self.env)
        view = self.view(tables.view)
        acting = view[: len(tables.successor)]
        first, observation = distinct_rows(acting)
        return tables._replace(view=view, observations=acting[first], observation=observation)

    def __getattr__(self, name: str) -> Any:
        """Forwards public attributes such as gamma, flags and judgement to the wrapped environment."""
        if name.startswith("_"):
            raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")
        return getattr(self.env, name)


class AliasObservation(AgentView):
    """The agent observes a function of the observation: observations with equal images become aliased."""

    def __init__(
        self, env: VectorEnv, function: Callable[[np.ndarray], np.ndarray], space: Space | None = None
    ) -> None:
        """Wraps an environment.

        Args:
            env: the environment.
            function: a pure function (N, *obs) -> (N, *obs').
            space: the space of one image; by default that of one observation.
        """
        super().__init__(env)
        self.function = function
        self.single_observation_space = space or env.single_observation_space
        self.observation_space = batch_space(self.single_observation_space, env.num_envs)

    @property
    def flags(self) -> np.ndarray:
        """(*obs',) bool: the image of the world's flags."""
        return np.asarray(self.function(self.env.flags[None])[0], bool)  # type: ignore[attr-defined]

    def view(self, obs: np.ndarray) -> np.ndarray:
        """(N, *obs) -> (N, *obs')."""
        return self.function(obs)


class AgentKnowledge(AgentView):
    """What the agent observes of the overseer: `flags` (aware), zeros instead (blind), or flipped flags (noisy)."""

    def __init__(self, env: VectorEnv, knowledge: str, noise: float = 0.1, flags: np.ndarray | None = None) -> None:
        """Wraps an environment.

        Args:
            env: the environment.
            knowledge: aware, blind or noisy.
            noise: the probability that a noisy agent observes a flag inverted throughout an episode.
            flags: (*obs,) bool, the entries of an observation that are flags; by default `env.flags`.
        """
        super().__init__(env)
        self.knowledge = arguments.choice("knowledge", knowledge, KNOWLEDGE)
        self.noise = arguments.probability("noise", noise)
        self.flags = np.asarray(env.flags if flags is None else flags, bool)  # type: ignore[attr-defined]
        self._flipped = np.zeros((env.num_envs, *self.flags.shape), bool)
        self._generator = np.random.default_rng()

    def reset(self, *, seed: Seed = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict[str, Any]]:
        """Restarts every copy, or those marked by the option "reset_mask"; the seed also seeds the flips."""
        entropy = arguments.seed(seed, self.num_envs)
        if entropy is not None:
            entropy = entropy if isinstance(entropy, list) else [entropy]
            self._generator = np.random.default_rng((*entropy, 1))  # independent of the environment's generator
        return super().reset(seed=seed, options=options)

    def begin(self, started: np.ndarray) -> None:
        """Draws the flips of the episodes that start."""
        draws = self._generator.random((int(started.sum()), *self.flags.shape))
        self._flipped[started] = (draws < self.noise) & self.flags

    def snapshot(self) -> SnapshotState:
        """The wrapped environment's snapshot and the flips of the current episodes."""
        flips = {"flipped": self._flipped.copy(), "generator": self._generator.bit_generator.state}
        return {**super().snapshot(), **flips}

    def restore(self, state: SnapshotState) -> None:
        """Continues from a snapshot, with the same flips."""
        super().restore(state)
        self._flipped = state["flipped"].copy()
        self._generator.bit_generator.state = state["generator"]

    def view(self, obs: np.ndarray) -> np.ndarray:
        """(N, *obs), with the flags as this agent observes them."""
        return np.where(self.flags, shown_flags(self.knowledge, obs, self._flipped), obs)

    def tabulate(self) -> Tables:
        """The tables of an aware or blind agent; a noisy one has none, since its flips are not in the state."""
        if self.knowledge == "noisy":
            raise NotEnumerable(
                "AgentKnowledge('noisy') draws its flips outside the world's state: use the world's own "
                "knowledge='noisy' for exact numbers"
            )
        return super().tabulate()
