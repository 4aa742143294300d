"""Checks that a vector environment is valid for training.

Of any Gymnasium vector environment: its spaces agree, a seed determines its episodes, a copy restarts in the step that
ends its episode and reports the final observation, and returned arrays are not written into later. The functions of a
world are checked as well: see `envs.checks.world`.
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
    """Checks an environment.

    Raises:
        CheckFailed: a ValueError of one line, the first fault found.
    """
    name = env.spec.id if env.spec else type(env.unwrapped).__name__
    try:
        _check_spaces(env)
        _check_reset(env)
        _check_steps(env)
        _check_repeats(env)
        if isinstance(env.unwrapped, POMDP):
            check_world(env.unwrapped)
    except CheckFailed as fault:
        raise CheckFailed(f"{name}: {fault}") from None


def _check_spaces(env: VectorEnv) -> None:
    """The spaces of N copies are N times those of one, and autoreset is in the same step."""
    for name in ("observation_space", "action_space"):
        batched = batch_space(getattr(env, f"single_{name}"), env.num_envs)
        found = getattr(env, name)
        require(
            found == batched,
            f"{name} is {found}, not {env.num_envs} times single_{name}: make it with batch_space()",
        )
    mode = env.metadata.get("autoreset_mode")
    found = f"metadata['autoreset_mode'] is {mode}"
    require(
        mode is AutoresetMode.SAME_STEP,
        f"{found}: restart in the step that ends an episode, AutoresetMode.SAME_STEP",
    )


def _check_reset(env: VectorEnv) -> None:
    obs, info = env.reset(seed=0)
    _check_obs(env, obs, "reset()")
    require(isinstance(info, dict), f"reset() returns info of type {type(info).__name__}: return a dict")


def _check_obs(env: VectorEnv, obs: Any, source: str) -> None:
    found = f"{getattr(obs, 'dtype', type(obs).__name__)} of shape {np.shape(obs)}"
    require(
        env.observation_space.contains(obs),
        f"{source} returns an observation ({found}) outside {env.observation_space}",
    )


def _check_steps(env: VectorEnv) -> None:
    """Every step returns one value per copy and restarts the copies whose episode ended."""
    before, _ = env.reset(seed=0)
    env.action_space.seed(0)
    restarted, stale = 0, 0
    for _ in range(STEPS):
        saved = copy.deepcopy(before)
        obs, reward, terminated, truncated, info = env.step(env.action_space.sample())
        require(
            data_equivalence(saved, before, exact=True),
            "step() writes into an observation it returned before: return a copy",
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
        "a copy that restarts returns its final observation again: return the first one of the new episode",
    )


def _check_column(env: VectorEnv, name: str, column: Any, kinds: str) -> None:
    found = f"{getattr(column, 'dtype', type(column).__name__)} of shape {np.shape(column)}"
    fits = np.shape(column) == (env.num_envs,) and column.dtype.kind in kinds
    require(
        fits,
        f"step() returns {name} as {found}: return {env.num_envs} {'booleans' if kinds == 'b' else 'numbers'}",
    )


def _check_final(env: VectorEnv, info: dict[str, Any], done: np.ndarray) -> None:
    """The copies whose episode ended, and only those, report their final observation."""
    if not done.any():
        return
    require(
        "final_obs" in info,
        "an episode ended without info['final_obs']: set it to the last observations, None elsewhere",
    )
    mask = info.get("_final_obs", ())
    require(
        np.array_equal(mask, done),
        "info['_final_obs'] does not mark the copies that ended: set it to terminated | truncated",
    )
    for i in np.flatnonzero(done):
        inside = env.single_observation_space.contains(info["final_obs"][i])
        require(
            inside,
            f"info['final_obs'][{i}] is outside {env.single_observation_space}: set it to the last observation",
        )


def _check_repeats(env: VectorEnv) -> None:
    """The same seed and actions produce the same episodes."""
    first, second = _record(env), _record(env)
    for step, (a, b) in enumerate(zip(first, second, strict=True)):
        source = f"step {step}" if step else "reset()"
        require(
            data_equivalence(a, b),
            f"{source} differs between two runs with one seed: draw from np_random alone",
        )


def _record(env: VectorEnv) -> list[Any]:
    env.action_space.seed(1)
    first, _ = env.reset(seed=1)
    return copy.deepcopy([first] + [env.step(env.action_space.sample())[:4] for _ in range(STEPS)])
