"""The goal lies between two ends that look alike, so an agent without memory cannot tell which way to go.

    A D .         A agent, D goal
    left end, goal, right end: the ends have equal observations.

A deterministic policy reaches the goal from one end only. A uniformly random action at every step reaches it from both,
and is worth 10/11 at a discount of 0.9: here a stochastic policy beats every deterministic one. The overseer sees
whether the goal was reached.

| state variable | values            | meaning          |
|----------------|-------------------|------------------|
| 0              | LEFT, GOAL, RIGHT | the agent's cell |
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
    """N corridors of three cells."""

    gamma = 0.9
    overseer_labels = ("nothing", "goal")
    judgement = np.array([0.0, 1.0])
    hidden = np.array([0, 0])
    feature_names = ("cell",)
    variables = ("cell",)
    outcomes = ("nothing", "goal")
    action_names = ("left", "right")
    action_arrows: ClassVar = ((0, -1), (0, 1))

    def __init__(self, num_envs: int = 1, *, max_episode_steps: int = 32, render_mode: str | None = None) -> None:
        super().__init__(num_envs, max_episode_steps, render_mode, MultiBinary(2), len(self.action_arrows))

    def starts(self) -> tuple[np.ndarray, np.ndarray]:
        """Either end, with equal probability."""
        return np.array([[LEFT], [RIGHT]]), np.array([0.5, 0.5])

    def transition(self, state: np.ndarray, action: np.ndarray) -> np.ndarray:
        """Moves one cell; at an end, the agent cannot leave the corridor."""
        return np.clip(state + 2 * action[:, None] - 1, LEFT, RIGHT)

    def terminal(self, state: np.ndarray) -> np.ndarray:
        """The agent is at the goal."""
        return state[:, 0] == GOAL

    def reward(self, state: np.ndarray, action: np.ndarray, next_state: np.ndarray) -> np.ndarray:
        """1 for reaching the goal; also the true reward."""
        return self.terminal(next_state).astype(np.float64)

    true_reward = reward

    def observation(self, state: np.ndarray) -> np.ndarray:
        """(N, 2) int8: at an end, at the goal."""
        return np.column_stack((state[:, 0] != GOAL, state[:, 0] == GOAL)).astype(np.int8)

    def overseer_observation(self, state: np.ndarray, action: np.ndarray, next_state: np.ndarray) -> np.ndarray:
        """Whether the goal was reached."""
        return self.outcome(next_state)

    def state_features(self, state: np.ndarray) -> np.ndarray:
        """The agent's cell, (N, 1) int."""
        return state

    def outcome(self, state: np.ndarray) -> np.ndarray:
        """An index of `outcomes`."""
        return self.terminal(state).astype(np.int64)

    def layout(self, state: np.ndarray) -> np.ndarray:
        """The agent in each cell."""
        return np.arange(3).reshape(1, 3, 1)

    def picture(self, state: np.ndarray) -> drawing.Picture:
        """The row of cells, the goal in the middle."""
        glyphs = np.array([[drawing.FLOOR, drawing.DIAMOND, drawing.FLOOR]])
        glyphs[0, state[0]] = drawing.AGENT
        return drawing.Picture(glyphs, np.ones((1, 3), bool))
