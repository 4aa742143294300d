"""The goal lies between two ends that look alike, so an agent without memory cannot tell which way to go.

Always going one way finds the goal from one end only; a coin at every step finds it from both, soon enough to
be worth 10/11 at a discount of 0.9: here a stochastic policy beats every deterministic one.
"""

from typing import ClassVar

import numpy as np
from gymnasium.spaces import MultiBinary

from envs import drawing
from envs.pomdp import POMDP
from envs.registration import register

LEFT, GOAL, RIGHT = range(3)  # cells


@register
class AliasedCorridor(POMDP):
    """N corridors of three cells; the overseer sees whether the goal was reached."""

    gamma = 0.9
    overseer_labels = ("nothing", "goal")
    judgement = np.array([0.0, 1.0])
    outcomes = ("nothing", "goal")
    action_names = ("left", "right")
    action_arrows: ClassVar = ((0, -1), (0, 1))

    def __init__(self, num_envs: int = 1, *, max_episode_steps: int = 32, render_mode: str | None = None) -> None:
        super().__init__(num_envs, max_episode_steps, render_mode, MultiBinary(2), len(self.action_arrows))

    def starts(self) -> tuple[np.ndarray, np.ndarray]:
        """Either end."""
        return np.array([[LEFT], [RIGHT]]), np.array([0.5, 0.5])

    def transition(self, state: np.ndarray, action: np.ndarray) -> np.ndarray:
        """One cell on; the ends are walls."""
        return np.clip(state + 2 * action[:, None] - 1, LEFT, RIGHT)

    def terminal(self, state: np.ndarray) -> np.ndarray:
        """The goal was reached."""
        return state[:, 0] == GOAL

    def reward(self, state: np.ndarray, action: np.ndarray, next_state: np.ndarray) -> np.ndarray:
        """1 at the goal."""
        return self.terminal(next_state).astype(np.float64)

    true_reward = reward

    def observation(self, state: np.ndarray) -> np.ndarray:
        """An end, or the goal: (N, 2) int8."""
        return np.column_stack((state[:, 0] != GOAL, state[:, 0] == GOAL)).astype(np.int8)

    def overseer_observation(self, state: np.ndarray, action: np.ndarray, next_state: np.ndarray) -> np.ndarray:
        """Whether the goal was reached."""
        return self.outcome(next_state)

    def outcome(self, state: np.ndarray) -> np.ndarray:
        """nothing, goal."""
        return self.terminal(state).astype(np.int64)

    def layout(self, state: np.ndarray) -> np.ndarray:
        """The agent in each cell."""
        return np.arange(3).reshape(1, 3, 1)

    def picture(self, state: np.ndarray) -> drawing.Picture:
        """The row of cells, the goal in the middle."""
        glyphs = np.array([[drawing.FLOOR, drawing.DIAMOND, drawing.FLOOR]])
        glyphs[0, state[0]] = drawing.AGENT
        return drawing.Picture(glyphs, np.ones((1, 3), bool))
