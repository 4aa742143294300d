"""Checks that a vector environment is valid for training.

Of any Gymnasium vector environment: its spaces agree, a seed determines its episodes, a copy restarts in the step that
ends its episode and reports the final observation, and returned arrays are not written into later. The functions of a
world are checked as well: see `envs.checks.world`.
"""

import copy
from typing import Any

import numpy as np
from gymnasium.spaces import Box, Discrete, MultiBinary, MultiDiscrete
from gymnasium.utils.env_checker import data_equivalence
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from envs.checks.declarations import check_declarations
from envs.checks.stepping import check_stepping
from envs.checks.world import check_functions
from envs.overseer_view import inside_overseer_views
from envs.pomdp import POMDP
from envs.tables import NotEnumerable, Tables
from envs.validation import NO_LIMIT, check_bad_act, check_finite, check_labels, described, prefixed, require

STEPS = 200
LATE = 1000  # steps after which the states that can be reached in an even, or odd, number of steps no longer change
ARRAY_SPACES = (Box, Discrete, MultiBinary, MultiDiscrete)


def check_vector_env(env: VectorEnv) -> None:
    """Checks an environment as training would use it, wrappers included.

    Raises:
        CheckFailed: a ValueError of one line, the first fault found.
    """
    findings(env)


def findings(env: VectorEnv) -> list[str]:
    """Checks an environment as training would use it, wrappers included.

    Returns:
        Notes, one line each: properties that are allowed and that have consequences, such as no tables.

    Raises:
        CheckFailed: a ValueError of one line, the first fault found.
    """
    is_world = isinstance(env.unwrapped, POMDP)
    with prefixed(env.spec.id if env.spec else type(env.unwrapped).__name__):
        if is_world:
            check_declarations(env)
            check_functions(env.unwrapped)  # type: ignore[arg-type]
        _check_spaces(env)
        _check_reset(env)
        ends = _check_steps(env)
        _check_repeats(env)
        if is_world and hasattr(type(env), "tabulate"):
            check_stepping(inside_overseer_views(env))
        else:
            _check_restarts(env)
    return _notes(env) + _verdict_notes(env) + (ends if not is_world else [])


def _verdict_notes(env: VectorEnv) -> list[str]:
    """A note if no overseer observation has a verdict."""
    judgement = getattr(env, "judgement", ())
    if not len(judgement) or not np.isnan(judgement).all():
        return []
    return ["no overseer observation has a verdict: its overseer judges by audits alone"]


def time_limit_notes(tables: Tables, world: VectorEnv) -> list[str]:
    """A note if the time limit can end an episode with an outcome that terminal states have too.

    Such an episode counts as one that ended by itself.
    """
    limit, acting = getattr(world.unwrapped, "max_episode_steps", NO_LIMIT), len(tables.successor)
    of_ends = np.isin(tables.outcome[:acting], tables.outcome[acting:])
    if limit >= NO_LIMIT or len(tables.outcomes) < 2 or not of_ends.any():
        return []
    reached = np.zeros(len(tables.states), bool)
    reached[tables.start] = True
    for _ in range(min(limit, LATE + limit % 2)):
        before, reached = reached, np.zeros(len(reached), bool)
        reached[tables.successor[before[:acting]].ravel()] = True
        if np.array_equal(before, reached):
            break
    found = tables.outcome[:acting][reached[:acting] & of_ends]
    return [_shared_ending(tables.outcomes[found[0]])] if len(found) else []


def _shared_ending(outcome: str) -> str:
    return f"the time limit can end an episode as {outcome!r}, an outcome of episodes that terminate: name one for it"


def _notes(env: VectorEnv) -> list[str]:
    """Why the environment has no tables, if so."""
    consequence = "so it has no tables and is evaluated by sampling"
    world = env.unwrapped
    if not isinstance(world, POMDP):
        return ["evaluated by sampling (--eval-episodes)"]
    notes = []
    if not hasattr(type(env), "tabulate"):
        notes.append(f"{type(env).__name__} has no tabulate(), {consequence}")
    try:
        world.starts()
    except NotEnumerable as reason:
        notes.append(str(reason))
    kind = world.initial(1).dtype
    if kind.kind not in "iub":
        notes.append(f"the states of {type(world).__name__} are {kind}, {consequence}")
    return notes


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
    space = env.observation_space
    fits = space.contains(obs) and (not isinstance(space, ARRAY_SPACES) or obs.dtype == space.dtype)
    require(
        fits,
        f"{source} returns an observation ({described(obs)}) outside {space}: return {space.dtype} "
        f"of shape {space.shape} within its bounds",
    )


def _check_steps(env: VectorEnv) -> list[str]:
    """Every step returns one value per copy and restarts the copies whose episode ended.

    Returns:
        A note if episodes terminated, and were cut off, with one outcome of several.
    """
    terminal, late = set(), set()  # outcomes of episodes that terminated, and that the time limit ended
    before, _ = env.reset(seed=0)
    env.action_space.seed(0)
    for _ in range(STEPS):
        saved = copy.deepcopy(before)
        obs, reward, terminated, truncated, info = env.step(env.action_space.sample())
        require(
            data_equivalence(saved, before, exact=True),
            "step() writes into an observation it returned before: return a copy",
        )
        _check_obs(env, obs, "step()")
        _check_column(env, "reward", reward, "fiu")
        check_finite("reward of step()", reward)
        _check_column(env, "terminated", terminated, "b")
        _check_column(env, "truncated", truncated, "b")
        _check_overseer_view(env, info)
        _check_bad_acts(env, info)
        _check_final(env, info, terminated | truncated)
        before = obs
        if "outcome" in info:
            terminal.update(info["outcome"][terminated].tolist())
            late.update(info["outcome"][truncated & ~terminated].tolist())
    names = getattr(env, "outcomes", ())
    return [_shared_ending(names[min(terminal & late)])] if terminal & late and len(names) > 1 else []


def _check_restarts(env: VectorEnv) -> None:
    """A copy that restarts returns the first observation of its new episode, unless all observations are alike."""
    if not isinstance(env.observation_space, ARRAY_SPACES):
        return
    obs, _ = env.reset(seed=0)
    first, is_constant, restarted, stale = obs[0].copy(), True, 0, 0
    for _ in range(STEPS):
        obs, _, terminated, truncated, info = env.step(env.action_space.sample())
        done = np.flatnonzero(terminated | truncated)
        stale += sum(bool(np.array_equal(obs[i], info["final_obs"][i])) for i in done)
        restarted += len(done)
        is_constant = is_constant and bool((obs == first).all())
    require(
        is_constant or restarted < 5 or stale < restarted,
        "a copy that restarts returns its final observation again: return the first one of the new episode",
    )


def _check_column(env: VectorEnv, name: str, column: Any, kinds: str) -> None:
    wanted = {"b": "booleans", "iu": "integers"}.get(kinds, "numbers")
    fits = isinstance(column, np.ndarray) and column.shape == (env.num_envs,) and column.dtype.kind in kinds
    require(fits, f"step() returns {name} as {described(column)}: return {env.num_envs} {wanted}")


def _check_overseer_view(env: VectorEnv, info: dict[str, Any]) -> None:
    """The info of a step has what training reads, if the environment has an overseer."""
    judgement, labels = getattr(env, "judgement", None), getattr(env, "overseer_labels", None)
    if judgement is None or labels is None:
        return
    for name in ("overseer_obs", "true_reward"):
        require(name in info, f"the info of step() lacks {name!r}, which training reads: add it")
    _check_column(env, "info['true_reward']", info["true_reward"], "fiu")
    check_finite("info['true_reward'] of step()", info["true_reward"])
    features = getattr(env, "overseer_features", ())
    if features:
        shape, found = (env.num_envs, len(features)), info["overseer_obs"]
        require(
            np.shape(found) == shape and found.dtype.kind == "f",
            f"step() returns info['overseer_obs'] as {described(found)}: return floats of shape {shape}",
        )
        return
    _check_column(env, "info['overseer_obs']", info["overseer_obs"], "iu")
    check_labels("info['overseer_obs']", info["overseer_obs"], tuple(labels))
    require(
        info["overseer_obs"].max() < len(judgement),
        f"info['overseer_obs'] has {info['overseer_obs'].max()}, but judgement has {len(judgement)} verdicts: "
        "give one for each",
    )


def _check_bad_acts(env: VectorEnv, info: dict[str, Any]) -> None:
    """The info of a step has the bad acts of an environment that declares any."""
    kinds = getattr(env, "bad_acts", ())
    if kinds:
        require("bad_act" in info, "the info of step() lacks 'bad_act', and the environment has bad_acts: add it")
        _check_column(env, "info['bad_act']", info["bad_act"], "iu")
        check_bad_act(kinds, info["bad_act"])


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
