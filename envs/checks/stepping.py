"""Checks that `step()` of a world, or of a wrapper with tables, agrees with the world's functions.

Tables are made from the functions. If `step()` were overridden, training and exact evaluation would differ.

Letters: N copies, K state variables.
"""

from typing import Any

import numpy as np

from envs.pomdp import POMDP
from envs.validation import differing_rows, evaluate_function, require

STEPS = 48


def check_stepping(env: Any) -> None:
    """Raises CheckFailed at the first step that differs from the functions."""
    world = env.unwrapped
    env.action_space.seed(2)
    env.reset(seed=2)
    elapsed = np.zeros(env.num_envs, int)
    for _ in range(STEPS):
        before = world.snapshot()["state"].copy()
        actions = env.action_space.sample()
        obs, reward, terminated, truncated, info = env.step(actions)
        elapsed += 1
        found = {"reward": reward, "terminal": terminated, "observation": obs}
        found |= {"true_reward": info["true_reward"], "overseer_observation": info["overseer_obs"]}
        found |= {"outcome": info["outcome"]}
        if world.bad_acts:
            found |= {"bad_act": info["bad_act"]}
        _check_step(env, before, actions, found, terminated | truncated)
        late = np.flatnonzero(truncated != ((elapsed == world.max_episode_steps) & ~terminated))
        require(
            not len(late),
            f"step() truncates an episode after {elapsed[late[:1]].tolist()} steps with max_episode_steps "
            f"{world.max_episode_steps}: do not override step()",
        )
        elapsed[terminated | truncated] = 0


def _check_step(
    env: Any, before: np.ndarray, actions: np.ndarray, found: dict[str, np.ndarray], done: np.ndarray
) -> None:
    """Compares what a step returned, by the name of the function, with the functions' values."""
    world, current = env.unwrapped, env.unwrapped.snapshot()["state"]
    rows, after = _reached(world, before, actions, current, done)
    step = before[rows], actions[rows], after
    of_steps = ("reward", "true_reward", "overseer_observation", *(("bad_act",) if world.bad_acts else ()))
    expected = {name: evaluate_function(world, name, *step) for name in of_steps}
    expected |= {name: evaluate_function(world, name, after) for name in ("terminal", "outcome")}
    for name, values in expected.items():
        _require_equal(name, before[rows], found[name][rows], values)
    _require_equal("observation", current, found["observation"], env.observation(current))


def _reached(
    world: POMDP, before: np.ndarray, actions: np.ndarray, current: np.ndarray, done: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The copies whose next state is known, (n,) int, and these next states, (n, K)."""
    if world.noise:  # the state of a copy that restarted is lost
        rows = np.flatnonzero(~done)
        return rows, current[rows]
    return np.arange(len(done)), evaluate_function(world, "transition", before, actions)


def _require_equal(name: str, states: np.ndarray, found: Any, expected: np.ndarray) -> None:
    different = states[:0] if not len(states) else states[np.flatnonzero(differing_rows(found, expected))]
    require(
        not len(different),
        f"step() and {name}() differ in state {different[:1].tolist()}: change {name}() instead of step()",
    )
