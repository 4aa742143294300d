"""A Gymnasium vector environment as the vector environment that Stable-Baselines3 expects.

Stable-Baselines3 resets a finished copy within the step that ended it, so only AutoresetMode.SAME_STEP can be adapted.
What the overseer sees stays on the adapter, as arrays: it never passes through the observation.
"""

from collections.abc import Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from stable_baselines3.common.vec_env import VecEnv

from envs.snapshot import require_snapshots


def _reached(obs: np.ndarray, done: np.ndarray, info: dict[str, Any]) -> np.ndarray:
    """(N, *obs): the observation of the state each copy stepped into, before its reset."""
    if not done.any():
        return obs
    reached = obs.copy()
    for i in np.flatnonzero(done):
        reached[i] = info["final_obs"][i]
    return reached


def make_vec_env(env_id: str, n_envs: int, **env_kwargs) -> "GymnasiumVecEnv":
    """`n_envs` copies of a registered environment, adapted."""
    return GymnasiumVecEnv(gymnasium.make_vec(env_id, num_envs=n_envs, **env_kwargs))


class GymnasiumVecEnv(VecEnv):
    """N copies; all but finished ones share one empty info dict.

    Attributes:
        overseer_obs: (N,) int, what the overseer saw of the last step.
        true_reward: (N,) float, privileged.
        raw_reward: (N,) float, the last reward before anyone bootstraps on it.
        reached: (N, *obs), the observation of the state the last step reached, before any reset.
        timeouts: (N,) bool, episodes that the last step ended by their time limit alone.
        tell_timeouts: whether infos tell of them too: Stable-Baselines3 then asks the critic about each by itself.

    Raises:
        ValueError: the environment does not reset in the same step, or shows its overseer nothing.
    """

    def __init__(self, env: VectorEnv) -> None:
        mode = env.metadata.get("autoreset_mode")
        if mode is not AutoresetMode.SAME_STEP:
            raise ValueError(
                f"{env} resets by {mode}; Stable-Baselines3 needs AutoresetMode.SAME_STEP: "
                "give make_vec an environment that has it"
            )
        self.env = env  # first, for the base class asks it for its render mode
        super().__init__(env.num_envs, env.single_observation_space, env.single_action_space)
        self.tell_timeouts = True
        self._seed: int | None = None
        self._live: dict[str, Any] = {}

    def seed(self, seed: int | None = None) -> Sequence[int | None]:
        """Seeds the next reset; copy i is number i of one stream, not a stream of its own."""
        self._seed = seed
        return [seed] * self.num_envs

    def reset(self) -> np.ndarray:
        obs, _ = self.env.reset(seed=self._seed)
        self._seed = None
        self._returns = np.zeros(self.num_envs)
        self._lengths = np.zeros(self.num_envs, dtype=int)
        return obs

    def step_async(self, actions: np.ndarray) -> None:
        self._actions = actions

    def step_wait(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[dict]]:
        obs, reward, terminated, truncated, info = self.env.step(self._actions)
        if "overseer_obs" not in info:
            raise ValueError(f"{self.env} gives no overseer_obs in its info; wrap it with an overseer's observation")
        done = terminated | truncated
        self.overseer_obs, self.true_reward = info["overseer_obs"], info["true_reward"]
        self.raw_reward, self.reached = reward, _reached(obs, done, info)
        self.timeouts = truncated & ~terminated
        self._returns += reward
        self._lengths += 1
        infos = [self._live] * self.num_envs
        for i in np.flatnonzero(done).tolist():
            infos[i] = self._finished(i)
        self._returns[done] = 0
        self._lengths[done] = 0
        return obs, reward.copy(), done, infos  # the algorithm adds to the rewards it is given

    def _finished(self, i: int) -> dict[str, Any]:
        return {
            "terminal_observation": self.reached[i],
            "TimeLimit.truncated": bool(self.timeouts[i]) and self.tell_timeouts,
            "episode": {"r": self._returns[i], "l": int(self._lengths[i])},
        }

    def snapshot(self) -> dict[str, Any]:
        """Where the copies are; raises NotKept where the environment cannot tell."""
        return {
            "env": require_snapshots(self.env).snapshot(),
            "returns": self._returns.copy(),
            "lengths": self._lengths.copy(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Goes on where `snapshot` was taken."""
        require_snapshots(self.env).restore(state["env"])
        self._returns, self._lengths = state["returns"].copy(), state["lengths"].copy()

    def close(self) -> None:
        self.env.close()

    def get_attr(self, attr_name: str, indices=None) -> list:
        return [getattr(self.env, attr_name)] * len(list(self._get_indices(indices)))

    def set_attr(self, attr_name: str, value, indices=None) -> None:
        setattr(self.env, attr_name, value)

    def env_method(self, method_name: str, *args, indices=None, **kwargs) -> list:
        return [getattr(self.env, method_name)(*args, **kwargs)]

    def env_is_wrapped(self, wrapper_class, indices=None) -> list[bool]:
        return [isinstance(self.env, wrapper_class)] * len(list(self._get_indices(indices)))
