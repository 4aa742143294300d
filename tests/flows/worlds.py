"""Vector environments that cannot be trained in under oversight, each for one reason."""

import gymnasium
import numpy as np
from gymnasium.spaces import Discrete
from gymnasium.vector import AutoresetMode, VectorEnv, VectorWrapper
from gymnasium.vector.utils import batch_space


class Plain(VectorEnv):
    """Ends its episode at every step; gives no overseer observation."""

    def __init__(self, num_envs: int = 1, oversight_prob: float = 0.1, size: int = 2) -> None:
        self.num_envs = num_envs
        self.single_observation_space = self.single_action_space = Discrete(2)
        self.observation_space = self.action_space = batch_space(Discrete(2), num_envs)
        self.metadata = {"autoreset_mode": AutoresetMode.SAME_STEP}

    def reset(self, *, seed=None, options=None):
        return np.zeros(self.num_envs, int), {}

    def step(self, actions):
        ones = np.ones(self.num_envs)
        return np.zeros(self.num_envs, int), ones, ones.astype(bool), ~ones.astype(bool), {}


class NextStep(Plain):
    """Resets in the step after the end of an episode."""

    def __init__(self, **arguments) -> None:
        super().__init__(**arguments)
        self.metadata = {"autoreset_mode": AutoresetMode.NEXT_STEP}


class Breaks(VectorWrapper):
    """A world whose third step raises an exception."""

    def __init__(self, **arguments) -> None:
        super().__init__(gymnasium.make_vec("envs:keyhole/TMaze-v0", vectorization_mode=None, **arguments))
        self.left = 3

    def step(self, actions):
        self.left -= 1
        if not self.left:
            raise RuntimeError("the bridge is out")
        return super().step(actions)

    def __getattr__(self, name: str):
        return getattr(self.env, name)


for world in (Plain, NextStep, Breaks):
    gymnasium.register(id=f"odd/{world.__name__}-v0", vector_entry_point=world)
