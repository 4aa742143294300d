"""A corridor with each kind of observation space."""

import gymnasium
import numpy as np
from gymnasium import spaces

from envs.pomdp import POMDP

LENGTH = 4
SPACES = {
    "discrete": spaces.Discrete(LENGTH + 1),
    "multi_discrete": spaces.MultiDiscrete([LENGTH + 1, 2]),
    "multi_discrete_int32": spaces.MultiDiscrete([LENGTH + 1, 2], dtype=np.int32),
    "multi_binary": spaces.MultiBinary(LENGTH + 1),
    "box": spaces.Box(0, LENGTH, (2,), np.float32),
    "box64": spaces.Box(np.array([0.0, -np.inf]), np.array([np.inf, 1.0]), dtype=np.float64),
    "image": spaces.Box(0, 255, (1, LENGTH + 1, 2), np.uint8),
}


class Corridor(POMDP):
    """Right is the way to the end, which is worth 1; left leads to the other end, which is worth 0."""

    overseer_labels = ("nothing", "something", "right", "wrong")
    judgement = np.array([0, np.nan, 1, -1])
    gamma = 0.9

    def __init__(self, num_envs=1, *, kind="box", oversight_prob=0.5, max_episode_steps=12, render_mode=None):
        self.kind, self.oversight_prob = kind, oversight_prob
        super().__init__(num_envs, max_episode_steps, render_mode, SPACES[kind], 2)

    def starts(self):
        states = np.array([[position, watched] for position in (1, 2, 3) for watched in (0, 1)])
        return states, np.where(states[:, 1], self.oversight_prob, 1 - self.oversight_prob) / 3

    def transition(self, state, action):
        after = state.copy()
        after[:, 0] += np.where(action == 1, 1, -1)
        return after

    def terminal(self, state):
        return (state[:, 0] <= 0) | (state[:, 0] >= LENGTH)

    def reward(self, state, action, next_state):
        return self.true_reward(state, action, next_state)

    def true_reward(self, state, action, next_state):
        return (next_state[:, 0] >= LENGTH).astype(float)

    def observation(self, state):
        position = state[:, 0]
        one_hot = np.eye(LENGTH + 1, dtype=np.int8)[position]
        pair = np.column_stack((position, 0 * position))
        return {
            "discrete": lambda: position.astype(np.int64),
            "multi_discrete": lambda: pair.astype(np.int64),
            "multi_discrete_int32": lambda: pair.astype(np.int32),
            "multi_binary": lambda: one_hot,
            "box": lambda: pair.astype(np.float32),
            "box64": lambda: pair.astype(np.float64),
            "image": lambda: np.repeat(one_hot[:, None, :, None], 2, -1).astype(np.uint8) * 255,
        }[self.kind]()

    def overseer_observation(self, state, action, next_state):
        seen = np.where(next_state[:, 0] >= LENGTH, 2, 3)
        return np.where(self.terminal(next_state), np.where(next_state[:, 1], seen, 1), 0)

    def watched(self, state):
        return state[:, 1].astype(bool)


gymnasium.register(id="spaces/Corridor-v0", vector_entry_point=Corridor)
WORLD = "spaces/Corridor-v0"
