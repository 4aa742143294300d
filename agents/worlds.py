"""Makes the world of a run: an environment, audits where it needs them, the limits of its overseer, the agent's frames.

Limits without memory are wrappers of the world, so everything that reads the world includes them. Limits with a history
apply to rollouts: the world carries them as `history_limits`, and a learner makes them from its seed.
"""

from functools import partial
from typing import Any

import numpy as np
from gymnasium.vector import VectorEnv

import envs
from agents.memory import FRAMES, NONE, parse_memory
from routing import Steps, parse_limits
from routing.oversight.limits import HISTORY, MEMORYLESS, WORLD
from routing.oversight.parts import Bound

OVERSEER = "overseer"  # the world argument that has the limits as a user writes them
MEMORY = "memory"  # the world argument that has the agent's memory as a user writes it


def make_world(env_id: str, copies: int, *, overseer: str = "", memory: str = NONE, **arguments: Any) -> VectorEnv:
    """Make copies of a registered environment as a run has them.

    Args:
        env_id: Gymnasium id, prefixed with "module:" if a module registers it.
        copies: N.
        overseer: limits of its overseer, as `routing.parse_limits` reads them; empty for none.
        memory: the agent's memory, as `parse_memory` reads it. With frames(K) the agent observes its last K
            observations; another memory is the policy's own and does not change the world.
        **arguments: of the environment, and `oversight_prob`: see `envs.make_vec`.

    Returns:
        The environment; its attribute `history_limits` lists the limits that a learner applies.

    Raises:
        ValueError: a limit is unknown, has a wrong value, or names what the world lacks; or the memory is invalid.
    """
    kind, frames = parse_memory(memory)
    bounds = parse_limits(overseer)
    of_kind = {kind: [bound for bound in bounds if bound.part.kind == kind] for kind in (MEMORYLESS, HISTORY, WORLD)}
    limits = [partial(envs.LimitedOverseer, kernel=_kernel(bound), name=bound.name) for bound in of_kind[MEMORYLESS]]
    asks = [partial(envs.Queried, **bound.make(0)()) for bound in of_kind[WORLD]]
    env = envs.make_vec(env_id, copies, limits=limits, asks=asks[0] if asks else None, **arguments)
    if kind == FRAMES:
        env = envs.Frames(env, frames)
    if of_kind[HISTORY]:
        env.history_limits = tuple(of_kind[HISTORY])  # type: ignore[attr-defined]
        if getattr(env, "feature_names", ()):
            env.unwrapped.expose_features = True  # type: ignore[attr-defined]
    return env


def history_limits(env: VectorEnv) -> tuple[Bound, ...]:
    """The limits with a history of an environment that `make_world` made."""
    return getattr(env, "history_limits", ())


def _kernel(bound: Bound) -> Any:
    """A limit without memory, with the arguments and result of `envs.LimitedOverseer`'s kernel."""
    function = bound.make(0)

    def kernel(*columns: np.ndarray, **names: Any) -> tuple[np.ndarray, np.ndarray]:
        return function(Steps(*columns, **names))  # type: ignore[arg-type]  # columns come before names

    return kernel
