"""Registers a world with Gymnasium as a single environment and as a vector environment of N copies."""

import functools
import inspect
from typing import Any, TypeVar

import gymnasium
import numpy as np

from envs import drawing
from envs.pomdp import POMDP

World = TypeVar("World", bound=POMDP)
UNLIMITED = 2**31 - 1  # Gymnasium's TimeLimit wrapper limits the single environment


class Single(gymnasium.Env):
    """One copy of a world as a `gymnasium.Env`, without autoreset and without time limit."""

    def __init__(self, world_class: type[POMDP], render_mode: str | None = None, **parameters: Any) -> None:
        self.world = world_class(1, max_episode_steps=UNLIMITED, render_mode=render_mode, **parameters)
        self.metadata = {k: v for k, v in self.world.metadata.items() if k != "autoreset_mode"}
        self.render_mode = render_mode
        self.observation_space = self.world.single_observation_space
        self.action_space = self.world.single_action_space
        self._state: np.ndarray | None = None

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Starts an episode, in `options["state"]`, (K,) int, if given."""
        super().reset(seed=seed)
        self.world.np_random = self.np_random
        state = (options or {}).get("state")
        self._state = self.world.initial(1) if state is None else np.array(state)[None]
        return self._observation(), {"watched": bool(self.world.watched(self._state)[0])}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Takes one action; `info` has the keys of the vector environment, for one copy."""
        if self._state is None:
            raise gymnasium.error.ResetNeeded(f"{self}: call reset() before step()")
        if not self.action_space.contains(action):
            raise ValueError(f"action must be 0 to {self.action_space.n - 1}, found {action!r}")  # type: ignore[attr-defined]
        result = self.world.dynamics.step(self._state, np.array([action]))
        self._state = result.state
        info = {
            "overseer_obs": int(result.overseer_obs[0]),
            "true_reward": float(result.true_reward[0]),
            "outcome": int(result.outcome[0]),
        }
        return self._observation(), float(result.reward[0]), bool(result.terminated[0]), False, info

    def render(self) -> Any:
        """Text (ansi) or an (H, W, 3) uint8 image (rgb_array)."""
        if self.render_mode is None or self._state is None:
            return None
        return drawing.FRAMES[self.render_mode](self.world.picture(self._state[0]))

    def _observation(self) -> Any:
        return self.world.observation(self._state)[0]  # type: ignore[arg-type]

    def __str__(self) -> str:
        return f"<{type(self.world).__name__}>"


def register(world_class: type[World], namespace: str = "keyhole", version: int = 0) -> type[World]:
    """Registers `namespace/ClassName-v{version}` and returns the class; usable as a decorator."""
    gymnasium.register(
        id=f"{namespace}/{world_class.__name__}-v{version}",
        entry_point=functools.partial(Single, world_class),
        vector_entry_point=world_class,  # type: ignore[arg-type]  # a subclass has its own constructor
        max_episode_steps=inspect.signature(world_class).parameters["max_episode_steps"].default,
    )
    return world_class
