"""Any Gymnasium environment with an overseer, stepped copy by copy or by its own vector form; see `envs.overseen`."""

import copy
from typing import Any

import gymnasium
import numpy as np
from gymnasium import Space
from gymnasium.spaces import Discrete, MultiBinary
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from envs import arguments
from envs.foreign.declaration import Overseen, OverseenStep
from envs.foreign.spaces import agent_space
from envs.observations import batch_of_one, reached, row
from envs.overseer_view import last_info
from envs.snapshot import SnapshotState, SnapshotUnsupported
from envs.tables import NotEnumerable, Tables

NAN = float("nan")
SAMPLES = 7  # observations from which the agent's space is found: few spaces have an axis of this length


class SteppedEnv(VectorEnv):
    """N copies of an environment with an overseer."""

    oversight_prob = NAN
    knowledge = ""

    def __init__(
        self,
        declared: Overseen,
        num_envs: int = 1,
        *,
        max_episode_steps: int | None = None,
        render_mode: str | None = None,
        **env_arguments: Any,
    ) -> None:
        """Makes N copies.

        Args:
            declared: the environment and its overseer.
            num_envs: N.
            max_episode_steps: the time limit; by default the environment's own.
            render_mode: of the environment.
            **env_arguments: of the environment.
        """
        self.declared = declared
        self.num_envs = arguments.at_least("num_envs", num_envs, 1)
        given = {**declared.arguments, **env_arguments}
        if render_mode is not None:
            given["render_mode"] = render_mode
        limit = max_episode_steps or declared.max_episode_steps
        if limit is not None:
            given["max_episode_steps"] = limit
        self.inner = _same_step_vector(declared.env_id, self.num_envs, given)
        self.render_mode = render_mode
        self.metadata = {**self.inner.metadata, "autoreset_mode": AutoresetMode.SAME_STEP}
        self.single_action_space = _from_zero(self.inner.single_action_space)
        self.action_space = batch_space(self.single_action_space, self.num_envs)
        sample = batch_space(self.inner.single_observation_space, SAMPLES).sample()
        self.single_observation_space = _observed_space(declared, self.inner.single_observation_space, sample)
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self.gamma, self.outcomes, self.bad_acts = declared.gamma, declared.outcomes, declared.bad_acts
        self.overseer_labels, self.judgement = declared.overseer_labels, declared.judgement
        if declared.action_names:
            self.action_names = declared.action_names
        shape = self.single_observation_space.shape or ()
        self.flags = np.zeros(shape, bool) if declared.flags is None else np.asarray(declared.flags, bool)
        if self.flags.shape != shape:
            raise ValueError(
                f"flags has shape {self.flags.shape}, but an observation has shape {shape}: make them equal"
            )

    def watched(self, state: np.ndarray) -> np.ndarray:
        """Whether the overseer can see something in episodes that start with these observations, (N,) bool."""
        return self.declared.watched_at(state, len(state))

    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Restarts every copy, or those marked by the option "reset_mask"; info has `watched`, (N,) bool."""
        mask = (options or {}).get("reset_mask")
        seeds = arguments.seed(seed, self.num_envs)
        with self.declared.named("reset()"):
            self._obs, _ = self.inner.reset(seed=seeds, options=options)  # type: ignore[arg-type]
        info = {"watched": self.declared.watched_at(self._obs, self.num_envs)}
        if mask is not None:
            info = {"watched": info["watched"] & mask, "_watched": np.array(mask)}
        return self._viewed(self._obs), info

    def step(self, actions: Any) -> tuple[Any, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Steps every copy; `info` describes what was reached, before any restart."""
        actions = _shifted(self.inner.single_action_space, actions)
        with self.declared.named("step()"):
            obs, reward, terminated, truncated, found = self.inner.step(actions)
        done = terminated | truncated
        next_obs = reached(self.inner.single_observation_space, obs, found.get("final_obs"), done)
        names = {*found, *found.get("final_info", {})} - {"final_obs", "final_info"}
        last = {name: last_info(found, name) for name in sorted(names) if not name.startswith("_")}
        step = OverseenStep(self._obs, np.asarray(actions), next_obs, np.asarray(reward, np.float64), terminated, last)
        info: dict[str, Any] = {
            "overseer_obs": self.declared.overseer_obs_of(step),
            "true_reward": self.declared.true_reward_of(step),
            "outcome": self.declared.outcome_of(step),
        }
        if self.bad_acts:
            info["bad_act"] = self.declared.bad_act_of(step)
        if done.any():
            viewed = self._viewed(next_obs)
            info["final_info"] = info | {f"_{name}": done for name in info}
            info["final_obs"] = np.full(self.num_envs, None, object)
            for i in np.flatnonzero(done).tolist():
                info["final_obs"][i] = row(self.single_observation_space, viewed, i)
            info["_final_obs"] = info["_final_info"] = done
        self._obs = obs
        return self._viewed(obs), self.declared.reward_of(step), terminated, truncated, info

    def _viewed(self, obs: Any) -> Any:
        """What the agents observe, (N, *obs')."""
        spaces = self.inner.single_observation_space, self.single_observation_space
        return _view(self.declared, *spaces, obs, self.num_envs)

    def tabulate(self) -> Tables:
        """Raises NotEnumerable: an environment of a third party cannot be enumerated."""
        raise NotEnumerable(f"{self.declared.id} has no tables: it is evaluated by sampling (--eval-episodes)")

    def snapshot(self) -> SnapshotState:
        """Raises SnapshotUnsupported: the state of an environment of a third party cannot be saved."""
        raise SnapshotUnsupported(f"{self.declared.id} cannot save the state of an episode")

    def restore(self, state: SnapshotState) -> None:
        """Raises SnapshotUnsupported."""
        self.snapshot()

    def render(self) -> Any:
        """What the environment inside renders."""
        return self.inner.render()

    def close_extras(self, **kwargs: Any) -> None:
        """Closes the environment inside."""
        self.inner.close(**kwargs)

    def __str__(self) -> str:
        return f"<{self.declared.id}>"


class SingleEnv(gymnasium.Wrapper):
    """One copy of an environment with an overseer, without autoreset."""

    def __init__(self, declared: Overseen, **given: Any) -> None:
        """Makes the copy; `given` are arguments of the environment inside, and `render_mode`."""
        super().__init__(declared.make_single(**given))
        self.declared = declared
        self._inner_space, self.action_space = self.env.observation_space, _from_zero(self.env.action_space)
        sample = batch_space(self._inner_space, SAMPLES).sample()
        self.observation_space = _observed_space(declared, self._inner_space, sample)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Starts an episode."""
        with self.declared.named("reset()"):
            obs, _ = self.env.reset(seed=seed, options=options)
        self._obs = batch_of_one(self._inner_space, obs)
        return self._observation(self._obs), {"watched": bool(self.declared.watched_at(self._obs, 1)[0])}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Takes one action; `info` has the keys of the vector environment, for one copy."""
        action = _shifted(self.env.action_space, action)
        with self.declared.named("step()"):
            obs, reward, terminated, truncated, found = self.env.step(action)
        next_obs = batch_of_one(self._inner_space, obs)
        last = {name: np.array([value]) for name, value in found.items()}
        ended, received = np.array([terminated]), np.array([reward], np.float64)
        step = OverseenStep(self._obs, np.asarray(action)[None], next_obs, received, ended, last)
        self._obs = next_obs
        info = {
            "overseer_obs": int(self.declared.overseer_obs_of(step)[0]),
            "true_reward": float(self.declared.true_reward_of(step)[0]),
            "outcome": int(self.declared.outcome_of(step)[0]),
        }
        if self.declared.bad_acts:
            info["bad_act"] = int(self.declared.bad_act_of(step)[0])
        return self._observation(next_obs), float(self.declared.reward_of(step)[0]), terminated, truncated, info

    def _observation(self, obs: Any) -> Any:
        viewed = _view(self.declared, self._inner_space, self.observation_space, obs, 1)
        return row(self.observation_space, viewed, 0)


def _shifted(space: Space, actions: Any) -> Any:
    """Actions from 0 as those of a Discrete space that starts elsewhere; other actions as they are."""
    return actions + space.start if isinstance(space, Discrete) and space.start else actions


def _from_zero(space: Space) -> Space:
    """The action space of agents: a Discrete one starts at 0."""
    return Discrete(space.n) if isinstance(space, Discrete) else space


def single_env_creator(declared: Overseen) -> Any:
    """A function that makes one copy, with the metadata that Gymnasium reads from it."""

    def create(**given: Any) -> gymnasium.Env:
        return SingleEnv(declared, **given)

    probe = declared.make_single()
    create.metadata = probe.metadata  # type: ignore[attr-defined]
    probe.close()
    return create


def _same_step_vector(env_id: str, num_envs: int, given: dict[str, Any]) -> VectorEnv:
    """N copies that restart in the step that ends an episode: the environment's own vector form if it does that."""
    spec = gymnasium.spec(env_id)
    if spec.vector_entry_point is not None:
        env = gymnasium.make_vec(env_id, num_envs=num_envs, **given)
        if env.metadata.get("autoreset_mode") is AutoresetMode.SAME_STEP:
            return env
        env.close()
    if spec.entry_point is None:
        raise ValueError(f"{env_id} has a vector form only, which does not restart in the same step: use another")
    settings = {"autoreset_mode": AutoresetMode.SAME_STEP}
    return gymnasium.make_vec(env_id, num_envs=num_envs, vectorization_mode="sync", vector_kwargs=settings, **given)


def _observed_space(declared: Overseen, inner: Space, sample: Any) -> Space:
    if declared.agent_view is not None:
        return agent_space(declared, declared.view_of(sample, SAMPLES))
    return MultiBinary(int(inner.n)) if isinstance(inner, Discrete) else inner


def _view(declared: Overseen, inner: Space, observed: Space, obs: Any, n: int) -> Any:
    if declared.agent_view is None:
        if not isinstance(inner, Discrete):
            return copy.deepcopy(obs)
        return (np.asarray(obs)[:, None] - inner.start == np.arange(inner.n)).astype(np.int8)
    viewed = declared.view_of(obs, n)
    if isinstance(viewed, dict | tuple):
        return viewed
    return declared.checked_view(np.array(viewed, observed.dtype), observed)
