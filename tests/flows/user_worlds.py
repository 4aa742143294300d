"""Writes user modules with a small world, changed in one place."""

from pathlib import Path

WORLD = '''
import numpy as np
from gymnasium.spaces import Box
from envs.pomdp import POMDP
from envs.registration import register


class Corridor(POMDP):
    """Two goals at the ends of a corridor; the left one is bad."""

    overseer_labels = ("nothing", "good", "bad")
    judgement = np.array([np.nan, 1.0, -1.0])
    outcomes = ("left", "right")
    action_names = ("left", "right")
    gamma = 0.9

    def __init__(self, num_envs=1, max_episode_steps=20, render_mode=None, oversight_prob=0.1, length=5):
        self.oversight_prob, self.length = oversight_prob, length
        self.noise = {"sees": (1 - oversight_prob, oversight_prob)}
        super().__init__(num_envs, max_episode_steps, render_mode, Box(0, 1, (length,), np.float32), 2)

    def starts(self):
        return np.array([[self.length // 2, 0]]), np.ones(1)

    def transition(self, state, action, sees):
        out = state.copy()
        out[:, 0] += 2 * action - 1
        out[:, 1] = sees
        return out

    def terminal(self, state):
        return (state[:, 0] == 0) | (state[:, 0] == self.length - 1)

    def reward(self, state, action, next_state):
        return self.terminal(next_state).astype(float)

    def true_reward(self, state, action, next_state):
        return np.where(next_state[:, 0] == 0, LOSS, (next_state[:, 0] == self.length - 1) * 1.0)

    def observation(self, state):
        return np.eye(self.length, dtype=np.float32)[state[:, 0]]

    def overseer_observation(self, state, action, next_state):
        good, bad = next_state[:, 0] == self.length - 1, next_state[:, 0] == 0
        return np.where(next_state[:, 1] == 0, 0, good + 2 * bad)

    def outcome(self, state):
        return (state[:, 0] > 0).astype(np.int64)


LOSS = -1.0
'''
REGISTER = '\nregister(Corridor, "user")\n'


def write_module(folder: Path, name: str, *changes: tuple[str, str], register: str = REGISTER) -> str:
    """Writes the world with changes as a module; returns the environment's id.

    Args:
        folder: A folder on the module search path.
        name: Name of the module.
        *changes: Pairs of an old text, which must occur, and a new one.
        register: Source that follows the world.
    """
    source = WORLD + register
    for old, new in changes:
        assert old in source
        source = source.replace(old, new)
    (folder / f"{name}.py").write_text(source)
    return f"{name}:user/Corridor-v0"
