"""Registers a world with Gymnasium as a single environment and as a vector environment of N copies."""

import functools
import importlib
import inspect
import re
from collections.abc import Callable
from typing import Any, TypeVar, overload

import gymnasium
import numpy as np

from envs import arguments, drawing
from envs.pomdp import POMDP

World = TypeVar("World", bound=POMDP)
UNLIMITED = 2**31 - 1  # Gymnasium's TimeLimit wrapper limits the single environment


class Single(gymnasium.Env):
    """One copy of a world as a `gymnasium.Env`, without autoreset and without time limit."""

    def __init__(self, world_class: type[POMDP], render_mode: str | None = None, **parameters: Any) -> None:
        self.metadata = single_metadata(world_class)
        if render_mode is not None:
            arguments.choice("render_mode", render_mode, self.metadata["render_modes"])
        self.world = world_class(1, max_episode_steps=UNLIMITED, **parameters)
        self.render_mode = render_mode
        self.observation_space = self.world.single_observation_space
        self.action_space = self.world.single_action_space
        self._state: np.ndarray | None = None

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Starts an episode, in `options["state"]`, (K,) int, if given.

        Raises:
            ValueError: the seed or an option is invalid, or an option is unknown.
        """
        super().reset(seed=None if seed is None else arguments.at_least("seed", seed, 0))
        self.world.np_random = self.np_random
        options = options or {}
        for name in options:
            arguments.choice("reset option", name, ("state",))
        state = options.get("state")
        self._state = self.world.initial(1) if state is None else self.world.checked_states(np.array(state)[None])
        self._show()
        return self._observation(), {"watched": bool(self.world.watched(self._state)[0])}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Takes one action; `info` has the keys of the vector environment, for one copy."""
        if self._state is None:
            raise gymnasium.error.ResetNeeded(f"{self}: call reset() before step()")
        if not self.action_space.contains(action):
            raise ValueError(f"action must be an integer from 0 to {self.action_space.n - 1}, found {action!r}")  # type: ignore[attr-defined]
        result = self.world.dynamics.step(self._state, np.array([action]))
        self._state = result.state
        seen = result.overseer_obs[0]
        info = {
            "overseer_obs": int(seen) if seen.ndim == 0 else seen.copy(),
            "true_reward": float(result.true_reward[0]),
            "outcome": int(result.outcome[0]),
        }
        if result.bad_act is not None:
            info["bad_act"] = int(result.bad_act[0])
        self._show()
        return self._observation(), float(result.reward[0]), bool(result.terminated[0]), False, info

    def render(self) -> Any:
        """Text (ansi), an (H, W, 3) uint8 image (rgb_array), or None: human mode prints text at each step instead."""
        if self.render_mode in (None, "human") or self._state is None:
            return None
        return drawing.FRAMES[self.render_mode](self.world.picture(self._state[0]))

    def _show(self) -> None:
        if self.render_mode == "human":
            print(drawing.ansi(self.world.picture(self._state[0])), end="\n\n", flush=True)  # type: ignore[index]

    def _observation(self) -> Any:
        return self.world.observation(self._state)[0]  # type: ignore[arg-type]

    def __str__(self) -> str:
        return f"<{type(self.world).__name__}>"


def single_metadata(world_class: type[POMDP]) -> dict[str, Any]:
    """The metadata of the single environment: that of the world with the render mode human, without autoreset."""
    metadata = {key: value for key, value in world_class.metadata.items() if key != "autoreset_mode"}
    return metadata | {"render_modes": [*metadata["render_modes"], "human"]}


@overload
def register(world_class: type[World], namespace: str = ..., version: int = ...) -> type[World]: ...
@overload
def register(
    world_class: str | None = ..., *, namespace: str = ..., version: int = ...
) -> Callable[[type[World]], type[World]]: ...
def register(world_class: Any = None, namespace: str = "keyhole", version: int = 0) -> Any:
    """Registers `namespace/ClassName-v{version}` and returns the class.

    As a decorator: `@register`, `@register("mine")` or `@register(namespace="mine", version=1)`. The entry points of a
    class at the top level of a module are strings, so that its `EnvSpec` can be saved as JSON.

    Args:
        world_class: the class, derived from `envs.POMDP`; without it, or with a namespace instead, a decorator is
            returned.
        namespace: the part of the id before the slash.
        version: the number at the end of the id.

    Raises:
        ValueError: the class is not derived from POMDP, its constructor has no max_episode_steps with a default, or
            another module has registered the id.
    """
    if world_class is None or isinstance(world_class, str):
        return functools.partial(_register, namespace=world_class or namespace, version=version)
    return _register(world_class, namespace, version)


def _register(world_class: type[World], namespace: str, version: int) -> type[World]:
    if not (isinstance(world_class, type) and issubclass(world_class, POMDP)):
        raise ValueError(f"{world_class!r} is not a class derived from envs.POMDP: derive it, or use envs.overseen")
    if not (isinstance(namespace, str) and re.fullmatch(r"[\w:-]+", namespace)):
        raise ValueError(f"namespace {namespace!r} is not a word: use letters, digits, _ and -")
    arguments.at_least("version", version, 0)
    limit = inspect.signature(world_class).parameters.get("max_episode_steps")
    if limit is None or limit.default is inspect.Parameter.empty:
        raise ValueError(
            f"{world_class.__name__} has no max_episode_steps: give its __init__ that keyword and a default"
        )
    name = f"{namespace}/{world_class.__name__}-v{version}"
    before = gymnasium.registry[name].vector_entry_point if name in gymnasium.registry else None
    other = before.partition(":")[0] if isinstance(before, str) else getattr(before, "__module__", None)
    if other not in (None, world_class.__module__):
        raise ValueError(f"{name} is already registered by {other}; choose another name or namespace")
    is_importable = "." not in world_class.__qualname__
    path = f"{world_class.__module__}.{world_class.__qualname__}"
    gymnasium.register(
        id=name,
        entry_point=f"{__name__}:{path}" if is_importable else single_creator(world_class),
        vector_entry_point=f"{world_class.__module__}:{world_class.__qualname__}" if is_importable else world_class,  # type: ignore[arg-type]
        max_episode_steps=limit.default,
    )
    return world_class


def single_creator(world_class: type[POMDP]) -> Any:
    """A function that makes the single environment of a world, with the metadata that Gymnasium reads from it."""
    creator: Any = functools.partial(Single, world_class)
    creator.metadata = single_metadata(world_class)
    return creator


def __getattr__(name: str) -> Any:
    """The creator of the single environment of the world "module.Class": its entry point is named after it."""
    module, _, class_name = name.rpartition(".")
    if not module:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return single_creator(getattr(importlib.import_module(module), class_name))
