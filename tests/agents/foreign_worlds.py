"""A tiny environment of a third party with an overseer, for each kind of observation and action."""

import gymnasium
import numpy as np
from gymnasium import spaces

import envs

IMAGE = spaces.Box(0, 255, (6, 5, 3), np.uint8)  # channels last
OBSERVATIONS = {
    "vector": spaces.Box(-1, 1, (3,)),
    "image": IMAGE,
    "dict": spaces.Dict(image=IMAGE, clock=spaces.Discrete(4), speed=spaces.Box(-1, 1, (2,), np.float64)),
}
ACTIONS = {
    "discrete": spaces.Discrete(2),
    "box": spaces.Box(np.float32([-1, 0]), np.float32([0.5, 2])),
    "multi_discrete": spaces.MultiDiscrete([2, 3]),
    "multi_binary": spaces.MultiBinary(3),
}
LENGTH = 3


class Draws(gymnasium.Env):
    """Three steps; the reward is the first number of the action."""

    def __init__(self, observed: str, acts: str) -> None:
        self.observation_space, self.action_space = OBSERVATIONS[observed], ACTIONS[acts]

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        if seed is not None:
            self.observation_space.seed(seed)
        self.steps = 0
        return self.observation_space.sample(), {}

    def step(self, action):
        assert self.action_space.contains(action), action
        self.steps += 1
        reward = float(np.ravel(action)[0])
        return self.observation_space.sample(), reward, self.steps == LENGTH, False, {}


def _end(step):
    """0: the episode goes on; 1: its last reward is positive; 2: it is not."""
    return np.where(step.terminated, 1 + (step.reward <= 0), 0)


for observed in OBSERVATIONS:
    for acts in ACTIONS:
        arguments = {"observed": observed, "acts": acts}
        gymnasium.register(f"draws/{observed}-{acts}-v0", Draws, kwargs=arguments, max_episode_steps=9)
        envs.overseen(
            f"overseen/{observed}-{acts}-v0",
            f"draws/{observed}-{acts}-v0",
            overseer_view=_end,
            judgement=[np.nan, 1, -1],
            bad_act=lambda step: (_end(step) == 2).astype(int),
            bad_acts=("negative",),
        )


def world(observed: str = "vector", acts: str = "discrete") -> str:
    """The id of an environment with an overseer."""
    return f"overseen/{observed}-{acts}-v0"
