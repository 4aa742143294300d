"""What the agent sees can be coarsened without touching the world: a view is put between the two.

Both wrappers go around any Gymnasium vector environment whose observations are arrays. Around a world of
tables, a view that only aliases gives tables again, so that its exact numbers stay exact.

Letters: N copies, obs the shape of an observation.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from gymnasium import Space
from gymnasium.vector import AutoresetMode, VectorEnv, VectorWrapper
from gymnasium.vector.utils import batch_space

from envs import arguments
from envs import snapshot as kept
from envs.enumeration import compile_world
from envs.tables import NotEnumerable, Tables, distinct_rows


class View(VectorWrapper):
    """Shows the agent `view` of every observation; everything else of the environment shows through."""

    def __init__(self, env: VectorEnv) -> None:
        super().__init__(env)
        if env.metadata.get("autoreset_mode") is not AutoresetMode.SAME_STEP:
            raise ValueError(f"{env} must restart in the step that ends: give it AutoresetMode.SAME_STEP")

    def view(self, obs: np.ndarray) -> np.ndarray:
        """(N, *obs) -> what the agents of the N copies are shown."""
        raise NotImplementedError

    def begin(self, fresh: np.ndarray) -> None:
        """Called when an episode begins in the copies that are fresh, (N,) bool."""

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Starts every copy afresh."""
        obs, info = self.env.reset(seed=seed, options=options)
        self.begin(np.ones(self.num_envs, bool))
        return self.view(obs), info

    def step(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Moves every copy; the observations in `info` are shown by the same view."""
        obs, reward, terminated, truncated, info = self.env.step(actions)
        if "final_obs" in info:
            info["final_obs"] = self._final(obs, info["final_obs"], info["_final_obs"])
            self.begin(info["_final_obs"])
        return self.view(obs), reward, terminated, truncated, info

    def _final(self, obs: np.ndarray, final: np.ndarray, ended: np.ndarray) -> np.ndarray:
        """(N,) object: what the agents were shown last, None where no episode ended."""
        reached, shown = obs.copy(), np.full(len(final), None, object)
        for i in np.flatnonzero(ended):
            reached[i] = final[i]
        reached = self.view(reached)
        for i in np.flatnonzero(ended):
            shown[i] = reached[i]
        return shown

    def snapshot(self) -> kept.SnapshotState:
        """The state of the environment inside; raises NotKept where that cannot tell it."""
        return {"env": kept.require_snapshots(self.env).snapshot()}

    def restore(self, state: kept.SnapshotState) -> None:
        """Goes on where `snapshot` was taken."""
        kept.require_snapshots(self.env).restore(state["env"])

    def observation(self, state: np.ndarray) -> np.ndarray:
        """What an agent in these states is shown, (N, *obs), where the environment is a world."""
        return self.view(self.env.observation(state))  # type: ignore[attr-defined]

    def tabulate(self) -> Tables:
        """The tables of the world inside, under this view; raises NotEnumerable."""
        tables = compile_world(self.env)
        view = self.view(tables.view)
        acting = view[: len(tables.successor)]
        first, observation = distinct_rows(acting)
        return tables._replace(view=view, observations=acting[first], observation=observation)

    def __getattr__(self, name: str) -> Any:
        """What only the environment has: gamma, flags, judgement, ..."""
        if name.startswith("_"):
            raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")
        return getattr(self.env, name)


class AliasObservation(View):
    """Shows the agent a function of the observation: observations with equal images become aliases."""

    def __init__(
        self, env: VectorEnv, function: Callable[[np.ndarray], np.ndarray], space: Space | None = None
    ) -> None:
        """`function` is pure, (N, *obs) -> (N, *obs'); `space` of an image, by default of an obs."""
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


class AgentKnowledge(View):
    """What the agent knows of the overseer: an aware one sees `flags`, a blind one zeros in their place.

    A noisy one sees every flag flipped with probability `noise`, in the same way throughout an episode, so
    that it learns nothing by looking again.
    """

    def __init__(self, env: VectorEnv, knowledge: str, noise: float = 0.1, flags: np.ndarray | None = None) -> None:
        """`flags`, (*obs,) bool, are the environment's own unless given."""
        super().__init__(env)
        self.knowledge = arguments.choice("knowledge", knowledge, ("aware", "blind", "noisy"))
        self.noise = arguments.probability("noise", noise)
        self.flags = np.asarray(env.flags if flags is None else flags, bool)  # type: ignore[attr-defined]
        self._flipped = np.zeros((env.num_envs, *self.flags.shape), bool)
        self._generator = np.random.default_rng()

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Starts every copy afresh; the seed also seeds the flips."""
        if seed is not None:
            self._generator = np.random.default_rng((seed, 1))  # a stream apart from the environment's
        return super().reset(seed=seed, options=options)

    def begin(self, fresh: np.ndarray) -> None:
        """Draws which flags are flipped."""
        draws = self._generator.random((int(fresh.sum()), *self.flags.shape))
        self._flipped[fresh] = (draws < self.noise) & self.flags

    def snapshot(self) -> kept.SnapshotState:
        """With the flips of the episodes under way."""
        flips = {"flipped": self._flipped.copy(), "generator": self._generator.bit_generator.state}
        return {**super().snapshot(), **flips}

    def restore(self, state: kept.SnapshotState) -> None:
        """Goes on where `snapshot` was taken, with the same flips."""
        super().restore(state)
        self._flipped = state["flipped"].copy()
        self._generator.bit_generator.state = state["generator"]

    def view(self, obs: np.ndarray) -> np.ndarray:
        """(N, *obs), the flags as this agent sees them."""
        return {"aware": _same, "blind": self._hidden, "noisy": self._noisy}[self.knowledge](obs)

    def _hidden(self, obs: np.ndarray) -> np.ndarray:
        return np.where(self.flags, np.zeros_like(obs), obs)

    def _noisy(self, obs: np.ndarray) -> np.ndarray:
        return np.where(self._flipped, 1 - obs, obs).astype(obs.dtype)

    def tabulate(self) -> Tables:
        """Of an aware or a blind agent; the flips of a noisy one are no part of the world's state."""
        if self.knowledge == "noisy":
            raise NotEnumerable(
                "AgentKnowledge('noisy') draws its flips outside the world's state: use the world's own "
                "knowledge='noisy' for exact numbers"
            )
        return super().tabulate()


def _same(obs: np.ndarray) -> np.ndarray:
    return obs
