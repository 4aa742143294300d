"""A vector environment is fit for training when it keeps a few promises that no type can hold.

Any Gymnasium vector environment: its spaces fit, it repeats from a seed, it restarts a copy within the step
that ends an episode and shows the final observation, and keeps no hand on what it has returned. A world of
seven functions promises more: see `promises`.
"""

import copy
from typing import Any

import numpy as np
from gymnasium.utils.env_checker import data_equivalence
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from envs.checks.world import CheckFailed, check_world, require
from envs.pomdp import POMDP

STEPS = 200


def check_vector_env(env: VectorEnv) -> None:
    """Returns if the environment keeps its promises; raises CheckFailed, a ValueError of one line, if not."""
    name = env.spec.id if env.spec else type(env.unwrapped).__name__
    try:
        _check_spaces(env)
        _check_reset(env)
        _check_steps(env)
        _check_repeats(env)
        if isinstance(env.unwrapped, POMDP):
            check_world(env.unwrapped)
    except CheckFailed as broken:
        raise CheckFailed(f"{name}: {broken}") from None


def _check_spaces(env: VectorEnv) -> None:
    """The spaces of N copies are those of one, N times, and restarts happen in the same step."""
    for name in ("observation_space", "action_space"):
        batched = batch_space(getattr(env, f"single_{name}"), env.num_envs)
        found = getattr(env, name)
        require(
            found == batched,
            f"{name} is {found}, not {env.num_envs} times single_{name}: batch_space() makes it",
        )
    mode = env.metadata.get("autoreset_mode")
    found = f"metadata['autoreset_mode'] is {mode}"
    require(
        mode is AutoresetMode.SAME_STEP,
        f"{found}: restart within the step that ends, AutoresetMode.SAME_STEP",
    )


def _check_reset(env: VectorEnv) -> None:
    obs, info = env.reset(seed=0)
    _check_obs(env, obs, "reset()")
    require(isinstance(info, dict), f"reset() gives {type(info).__name__} as info: give a dict")


def _check_obs(env: VectorEnv, obs: Any, source: str) -> None:
    found = f"{getattr(obs, 'dtype', type(obs).__name__)} of shape {np.shape(obs)}"
    require(
        env.observation_space.contains(obs),
        f"{source} gives an observation ({found}) outside {env.observation_space}",
    )


def _check_steps(env: VectorEnv) -> None:
    """Every step gives one of each a copy, and restarts those that ended."""
    before, _ = env.reset(seed=0)
    env.action_space.seed(0)
    restarted, stale = 0, 0
    for _ in range(STEPS):
        kept = copy.deepcopy(before)
        obs, reward, terminated, truncated, info = env.step(env.action_space.sample())
        require(
            data_equivalence(kept, before, exact=True),
            "step() writes into observations it gave before: copy them",
        )
        _check_obs(env, obs, "step()")
        _check_column(env, "reward", reward, "fiu")
        _check_column(env, "terminated", terminated, "b")
        _check_column(env, "truncated", truncated, "b")
        done = np.flatnonzero(terminated | truncated)
        _check_final(env, info, terminated | truncated)
        stale += sum(bool(np.array_equal(obs[i], info["final_obs"][i])) for i in done)
        restarted += len(done)
        before = obs
    require(
        restarted < 5 or stale < restarted,
        "a copy that restarts shows its last observation again: show its new one",
    )


def _check_column(env: VectorEnv, name: str, column: Any, kinds: str) -> None:
    found = f"{getattr(column, 'dtype', type(column).__name__)} of shape {np.shape(column)}"
    fits = np.shape(column) == (env.num_envs,) and column.dtype.kind in kinds
    require(
        fits,
        f"step() gives {name} as {found}: give {env.num_envs} {'booleans' if kinds == 'b' else 'numbers'}",
    )


def _check_final(env: VectorEnv, info: dict[str, Any], done: np.ndarray) -> None:
    """Copies that ended, and only those, show their final observation."""
    if not done.any():
        return
    require(
        "final_obs" in info,
        "an episode ended without info['final_obs']: give the last observation, None elsewhere",
    )
    mask = info.get("_final_obs", ())
    require(
        np.array_equal(mask, done),
        "info['_final_obs'] does not mark the copies that ended: give terminated | truncated",
    )
    for i in np.flatnonzero(done):
        inside = env.single_observation_space.contains(info["final_obs"][i])
        require(
            inside,
            f"info['final_obs'][{i}] is outside {env.single_observation_space}: give the observation reached",
        )


def _check_repeats(env: VectorEnv) -> None:
    """The same seed and actions give the same episodes."""
    first, second = _record(env), _record(env)
    for step, (a, b) in enumerate(zip(first, second, strict=True)):
        source = f"step {step}" if step else "reset()"
        require(
            data_equivalence(a, b),
            f"{source} differs between two runs of one seed: draw from np_random alone",
        )


def _record(env: VectorEnv) -> list[Any]:
    env.action_space.seed(1)
    first, _ = env.reset(seed=1)
    return copy.deepcopy([first] + [env.step(env.action_space.sample())[:4] for _ in range(STEPS)])
