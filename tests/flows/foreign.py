"""A vector environment that is not a POMDP of ours but has what training needs, and no layout."""

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Discrete
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space


class Bandit(VectorEnv):
    """Episodes of one step; action 1 is rewarded, and the overseer sees some steps."""

    gamma = 1.0
    overseer_labels = ("nothing", "bad", "good")
    judgement = np.array([np.nan, -1.0, 1.0])

    def __init__(self, num_envs: int = 1, oversight_prob: float = 0.1) -> None:
        self.num_envs, self.oversight_prob = num_envs, oversight_prob
        self.single_observation_space, self.single_action_space = Box(0, 1, (2,), np.float32), Discrete(2)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self.metadata = {"autoreset_mode": AutoresetMode.SAME_STEP}
        self.flags = np.zeros(2, bool)

    def watched(self, state):
        return np.zeros(len(state), bool)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return self._observe(), {"watched": np.zeros(self.num_envs, bool)}

    def _observe(self):
        return np.eye(2, dtype=np.float32)[self.np_random.integers(2, size=self.num_envs)]

    def step(self, actions):
        done = np.ones(self.num_envs, bool)
        reward = actions.astype(float)
        final = np.empty(self.num_envs, object)
        final[:] = list(self._observe())
        seen = self.np_random.random(self.num_envs) < self.oversight_prob
        info = {"overseer_obs": np.where(seen, 1 + actions, 0), "true_reward": reward}
        info |= {"final_obs": final, "_final_obs": done}
        return self._observe(), reward, done, ~done, info


gymnasium.register(id="foreign/Bandit-v0", vector_entry_point=Bandit)
