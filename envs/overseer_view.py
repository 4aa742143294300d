"""Base class of vector wrappers that change what the overseer observes; the agent's observation is unchanged.

Letters: N copies, K state variables.
"""

import functools
from typing import Any, Protocol

import numpy as np
from gymnasium.vector import VectorEnv

from envs import arguments
from envs.snapshot import SnapshotState
from envs.wrappers import AgentView, Seed


class NamedVerdicts(Protocol):
    """Names of overseer observations and the verdicts on them."""

    @property
    def names(self) -> tuple[str, ...]:
        """(L,)."""

    @property
    def judgement(self) -> np.ndarray:
        """(L,) float."""


class OverseerView(AgentView):
    """A wrapper with a generator of its own, which the seed of `reset` also seeds."""

    def __init__(self, env: VectorEnv, *stream: int) -> None:
        """Wraps an environment; `stream` distinguishes the generator from those of other wrappers."""
        super().__init__(env)
        self._stream = stream
        self._generator = np.random.default_rng()

    def view(self, obs: np.ndarray) -> np.ndarray:
        """(N, *obs), unchanged."""
        return obs

    def reset(self, *, seed: Seed = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict[str, Any]]:
        """Restarts every copy, or those marked by the option "reset_mask"."""
        started = np.array((options or {}).get("reset_mask", np.ones(self.num_envs, bool)))  # Gymnasium removes it
        entropy = arguments.seed(seed, self.num_envs)
        obs, info = self.env.reset(seed=seed, options=options)  # type: ignore[arg-type]  # a list is one of ours
        if entropy is not None:
            entropy = entropy if isinstance(entropy, list) else [entropy]
            self._generator = np.random.default_rng((*entropy, *self._stream))
        self.begin(started)
        return self.view(obs), info

    @property
    def _labels(self) -> NamedVerdicts:
        """The labels of the overseer with this wrapper."""
        raise NotImplementedError

    @property
    def overseer_labels(self) -> tuple[str, ...]:
        """(L,) the name of each overseer observation, those of the environment first."""
        return self._labels.names

    @property
    def judgement(self) -> np.ndarray:
        """(L,) float: the verdict on each overseer observation; nan where there is none."""
        return self._labels.judgement

    @property
    def described(self) -> dict[str, Any]:
        """The arguments of this wrapper and of those inside it, by their names in reports."""
        return dict(self.env.described) if isinstance(self.env, OverseerView) else {}

    @property
    def overseer_features(self) -> tuple[str, ...]:
        """The features that the overseer observes, if they have no labels."""
        return () if self._has_codes else getattr(self.env, "overseer_features", ())

    @functools.cached_property
    def _has_codes(self) -> bool:
        """Whether the wrapped environment's overseer observes features that have labels."""
        return bool(getattr(self.env, "overseer_features", ())) and len(self.env.overseer_codebook) > 0  # type: ignore[attr-defined]

    def _inner_overseer_obs(self, info: dict[str, Any]) -> np.ndarray:
        """The wrapped environment's overseer observations in the info of a step, (N,) int; features without labels."""
        found = last_info(info, "overseer_obs")
        if found is None:
            return np.zeros(self.num_envs, np.int64)
        return self.env.overseer_codes(found) if self._has_codes else np.array(found)  # type: ignore[attr-defined]

    def snapshot(self) -> SnapshotState:
        """The wrapped environment's snapshot and the state of the generator."""
        return {**super().snapshot(), "generator": self._generator.bit_generator.state}

    def restore(self, state: SnapshotState) -> None:
        """Continues from a snapshot, with the same draws."""
        super().restore(state)
        self._generator.bit_generator.state = state["generator"]


def inside_overseer_views(env: Any) -> Any:
    """The environment inside every wrapper that changes what the overseer observes; env itself if there is none."""
    inside = env
    while env is not env.unwrapped:
        inside = env.env if isinstance(env, OverseerView) else inside
        env = env.env
    return inside


def last_info(info: dict[str, Any], name: str) -> Any:
    """A value in the info of the step just made, before any restart; None if there is none.

    Where an episode ended, Gymnasium's own vector environments have it in `final_info` alone.
    """
    values, final = info.get(name), info.get("final_info", {}).get(name)
    if final is None or final is values:
        return values
    return final if values is None else np.where(info["_final_info"], final, values)


def put_info(info: dict[str, Any], name: str, values: np.ndarray) -> None:
    """Sets a value, (N, ...), in the info of a step, and in its `final_info`."""
    info[name] = values
    if "final_info" in info:
        info["final_info"] |= {name: values, f"_{name}": info["_final_info"]}
