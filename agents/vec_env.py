"""Adapts a Gymnasium vector environment to Stable-Baselines3's `VecEnv`.

Stable-Baselines3 resets a finished copy within the step that ended its episode, so only environments with
AutoresetMode.SAME_STEP can be adapted. The overseer's observations stay on the adapter as arrays and never pass through
the agent's observation.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import VecEnv

from agents.worlds import make_world
from envs.observations import reached
from envs.overseer_view import last_info
from envs.snapshot import require_snapshots

OVERSEER = ("judgement", "oversight_prob", "flags")  # what an environment with an overseer declares
Observations = np.ndarray | dict[str, np.ndarray]


def find_overseer(env: VecEnv | None) -> "GymnasiumVecEnv | None":
    """Return the adapter of an environment with an overseer, under any Stable-Baselines3 wrappers; None without one."""
    adapter = None if env is None else env.unwrapped
    return adapter if isinstance(adapter, GymnasiumVecEnv) and adapter.has_overseer else None


def make_vec_env(env_id: str, n_envs: int, **env_kwargs) -> "GymnasiumVecEnv":
    """Make and adapt `n_envs` copies of a registered environment.

    Args:
        env_id: Gymnasium id.
        n_envs: N, number of copies.
        **env_kwargs: of `agents.make_world`: arguments of the environment, `oversight_prob` and `overseer`.
    """
    return GymnasiumVecEnv(make_world(env_id, n_envs, **env_kwargs))


class GymnasiumVecEnv(VecEnv):
    """N copies of an environment. Copies whose episode did not end share one empty info dict.

    An environment with an overseer declares `judgement`, `oversight_prob` and `flags`, and its infos have
    `overseer_obs` and `true_reward`. Only for such an environment are there attributes about the last step.

    Args:
        env: the vector environment; its autoreset mode is SAME_STEP.

    Attributes:
        has_overseer: whether the environment has an overseer.
        overseer_obs: (N,) int, overseer observation of the last step; (N, F) float where it is features.
        audited: (N,) bool, whether the last step belongs to an audit; None where there are no audits.
        outcome: (N,) int, outcome of an episode that ends in the state reached; None if the environment has none.
        features: (N, F) float, features of the state reached that the overseer's limits read; None if there are none.
        bad_act: (N,) int, the kind of bad act of the last step, 0: none; None if the environment declares none. Only
            read-outs read it.
        true_reward: (N,) float, true reward of the last step. Only an all-seeing overseer may read it.
        raw_reward: (N,) float, proxy reward of the last step, before any bootstrap is added to it.
        reached: (N, *obs), observation of the state that the last step reached, before any reset.
        timeouts: (N,) bool, whether the last step ended the episode by the time limit alone.
        report_timeouts: whether infos carry "TimeLimit.truncated". Stable-Baselines3 then bootstraps each time-out with
            a forward pass of its own.

    Raises:
        ValueError: the environment does not reset in the same step, or it declares an overseer and a step returns no
            overseer observation.
    """

    def __init__(self, env: VectorEnv) -> None:
        mode = env.metadata.get("autoreset_mode")
        if mode is not AutoresetMode.SAME_STEP:
            raise ValueError(
                f"{env} resets by {mode}, but Stable-Baselines3 needs AutoresetMode.SAME_STEP; "
                "pass an environment with this mode to make_vec"
            )
        self.env = env  # set first: the base class reads its render mode
        super().__init__(env.num_envs, env.single_observation_space, env.single_action_space)
        self.has_overseer = all(hasattr(env, name) for name in OVERSEER)
        self.report_timeouts = True
        self._seed: int | None = None
        self._empty_info: dict[str, Any] = {}

    def seed(self, seed: int | None = None) -> Sequence[int | None]:
        """Seed the next reset. All copies draw from one stream of random numbers."""
        self._seed = seed
        return [seed] * self.num_envs

    def reset(self) -> Observations:
        """Reset all copies; returns their observations, (N, *obs)."""
        obs, _ = self.env.reset(seed=self._seed)
        self._seed = None
        self._returns = np.zeros(self.num_envs)
        self._lengths = np.zeros(self.num_envs, dtype=int)
        return obs

    def step_async(self, actions: np.ndarray) -> None:
        """Store the actions, (N, *action), for `step_wait`. A Bernoulli distribution draws floats, not integers."""
        self._actions = actions.astype(self.action_space.dtype, copy=False)

    def step_wait(self) -> tuple[Observations, np.ndarray, np.ndarray, list[dict]]:
        """Step all copies.

        Returns:
            Observations (N, *obs), proxy rewards (N,), dones (N,) and one info per copy.

        Raises:
            ValueError: the environment declares an overseer and its info has no overseer observation.
        """
        obs, reward, terminated, truncated, info = self.env.step(self._actions)
        done = terminated | truncated
        if self.has_overseer:
            if "overseer_obs" not in info:
                raise ValueError(f"{self.env} has no overseer_obs in its info; wrap it so that each step returns one")
            self.overseer_obs, self.true_reward = info["overseer_obs"], info["true_reward"]
            self.audited, self.outcome, self.features = map(info.get, ("audited", "outcome", "features"))
            self.bad_act = last_info(info, "bad_act")
            self.raw_reward, self.reached = (
                reward,
                reached(self.env.single_observation_space, obs, info.get("final_obs"), done),
            )
        self.timeouts = truncated & ~terminated
        self._returns += reward
        self._lengths += 1
        infos = [self._empty_info] * self.num_envs
        for i in np.flatnonzero(done).tolist():
            infos[i] = self._episode_end_info(i, info["final_obs"][i])
        self._returns[done] = 0
        self._lengths[done] = 0
        return obs, reward.copy(), done, infos  # a copy: the algorithm adds bootstraps to the rewards in place

    def _episode_end_info(self, i: int, final_obs: Any) -> dict[str, Any]:
        return {
            "terminal_observation": final_obs,
            "TimeLimit.truncated": bool(self.timeouts[i]) and self.report_timeouts,
            "episode": {"r": self._returns[i], "l": int(self._lengths[i])},
        }

    def snapshot(self) -> dict[str, Any]:
        """Return the state of all copies as plain data.

        Raises:
            SnapshotUnsupported: the environment has no snapshot.
        """
        return {
            "env": require_snapshots(self.env).snapshot(),
            "returns": self._returns.copy(),
            "lengths": self._lengths.copy(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Restore the state that `snapshot` returned."""
        require_snapshots(self.env).restore(state["env"])
        self._returns, self._lengths = state["returns"].copy(), state["lengths"].copy()

    def close(self) -> None:
        """Close the environment."""
        self.env.close()

    def get_attr(self, attr_name: str, indices=None) -> list:
        """Return the attribute of each copy; all copies share the attributes of the vector environment."""
        selected = list(self._get_indices(indices))
        if hasattr(self.env, attr_name) or not hasattr(self.env, "get_attr"):
            return [getattr(self.env, attr_name)] * len(selected)
        values = self.env.get_attr(attr_name)  # Gymnasium's SyncVectorEnv and AsyncVectorEnv have separate copies
        return [values[i] for i in selected]

    def set_attr(self, attr_name: str, value, indices=None) -> None:
        """Set an attribute of the vector environment; all copies share it."""
        setattr(self.env, attr_name, value)

    def env_method(self, method_name: str, *args, indices=None, **kwargs) -> list:
        """Call a method; returns one result for each index.

        A method of the vector environment acts on all copies: it is called once, and its result is repeated. A method
        of the copies of Gymnasium's SyncVectorEnv or AsyncVectorEnv is called on every copy.
        """
        selected = list(self._get_indices(indices))
        if hasattr(self.env, method_name) or not hasattr(self.env, "call"):
            return [getattr(self.env, method_name)(*args, **kwargs)] * len(selected)
        results = self.env.call(method_name, *args, **kwargs)
        return [results[i] for i in selected]

    def env_is_wrapped(self, wrapper_class, indices=None) -> list[bool]:
        """Whether the vector environment is an instance of `wrapper_class`, once for each index.

        True for Monitor: the adapter reports returns and lengths of episodes as Monitor does.
        """
        wrapped = isinstance(self.env, wrapper_class) or issubclass(wrapper_class, Monitor)
        return [wrapped] * len(list(self._get_indices(indices)))
