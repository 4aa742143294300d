"""Checks the functions of a world: pure, independent of the other copies, and equal in both forms of the world.

An observation that changes between two calls, or that differs from its alias's by rounding, reveals more to the agent
than the world's author intended.

Letters: n steps of experience, N copies, K state variables.
"""

import copy
from typing import Any

import numpy as np

from envs.checks.transitions import Transitions, evaluate_functions, fresh_copy, sample_transitions
from envs.pomdp import POMDP
from envs.registration import Single
from envs.tables import NotEnumerable, distinct_rows

NEAR = 1e-6  # observations that differ by less are taken to be aliases
ROWS = 64  # steps on which functions are also evaluated one by one
KINDS = {"transition": "iu", "terminal": "b", "watched": "b", "outcome": "iu", "overseer_observation": "iu"}
NAMES = {"b": "bool", "iu": "whole numbers", "fiub": "numbers"}


class CheckFailed(ValueError):  # noqa: N818  (named after the event)
    """A check failed; the message is one line."""


def require(passed: Any, line: str) -> None:
    """Raises CheckFailed with the line unless passed."""
    if not passed:
        raise CheckFailed(line)


def check_world(world: POMDP) -> None:
    """Checks a world; raises CheckFailed at the first fault."""
    _check_declarations(world)
    _check_starts(world)
    steps = sample_transitions(world)
    values = _check_pure(world, steps)
    _check_alike(world, steps, values)
    _check_kinds(values)
    _check_ranges(world, values)
    _check_aliases(steps.next_state, values["observation"])
    _check_forms(world)


def _check_declarations(world: POMDP) -> None:
    """The declarations of a world are consistent."""
    try:
        _ = world.parameters
    except AttributeError as missing:
        require(
            False,
            f"a keyword of __init__ is not an attribute: {missing}; set it on self, since tables are made from it",
        )
    labels, verdicts = len(world.overseer_labels), len(world.judgement)
    require(
        labels == verdicts > 0,
        f"judgement has {verdicts} verdicts for {labels} overseer_labels: give one for each",
    )
    require(0 <= world.gamma <= 1, f"gamma is {world.gamma}: a discount is between 0 and 1")
    shape, expected = np.shape(world.flags), world.single_observation_space.shape
    require(
        shape == expected, f"flags have shape {shape}, an observation {expected}: give them the shape of an observation"
    )
    for name, distribution in world.noise.items():
        require(
            np.isclose(sum(distribution), 1) and min(distribution) >= 0,
            f"noise {name!r} is not a distribution: {distribution}; give probabilities that sum to 1",
        )


def _check_starts(world: POMDP) -> None:
    """The start distribution, if any, sums to 1 and has no terminal state."""
    try:
        states, probabilities = world.starts()
    except NotEnumerable:
        return
    require(
        len(states) == len(probabilities),
        f"starts() returns {len(states)} states and {len(probabilities)} probabilities",
    )
    require(
        np.isclose(np.sum(probabilities), 1) and np.min(probabilities) >= 0,
        f"the start probabilities sum to {np.sum(probabilities)}, not 1",
    )
    require(len(distinct_rows(states)[0]) == len(states), "starts() lists a state twice: add up its probabilities")
    ended = np.flatnonzero(world.terminal(states))
    require(
        not len(ended),
        f"start state {_at(states, ended)} is terminal: leave it out of starts()",
    )


def _check_pure(world: POMDP, steps: Transitions) -> dict[str, np.ndarray]:
    """Every function returns equal values twice, draws nothing, and does not write into its arguments."""
    world.reset(seed=0)
    generator_state, saved = world.np_random.bit_generator.state, copy.deepcopy(steps)
    first = copy.deepcopy(evaluate_functions(world, steps))
    unchanged = all(np.array_equal(a, b) for a, b in zip(saved[:3], steps[:3], strict=True))
    require(unchanged, "a function writes into its arguments: copy them first")
    drawn = world.np_random.bit_generator.state != generator_state
    require(not drawn, "a function other than initial() draws from np_random: declare the random variable in `noise`")
    second = evaluate_functions(world, steps)
    for name, value in first.items():
        other = np.flatnonzero(_differ(value, second[name]))
        found = f"{name} returns two results for state {_at(steps.next_state, other)}"
        require(not len(other), f"{found}: let it depend on its arguments alone")
    return first


def _check_alike(world: POMDP, steps: Transitions, values: dict[str, np.ndarray]) -> None:
    """The value for a copy does not depend on the other copies."""
    for i in range(min(ROWS, len(steps.state))):
        alone = evaluate_functions(world, steps.rows(slice(i, i + 1)))
        for name, value in alone.items():
            same = not _differ(value, values[name][i : i + 1]).any()
            require(
                same,
                f"{name} of state {steps.next_state[i].tolist()} depends on other copies: compute rows separately",
            )


def _check_kinds(values: dict[str, np.ndarray]) -> None:
    """Every function returns one value per copy, of the right type."""
    n = len(values["transition"])
    for name, value in values.items():
        kind = KINDS.get(name, "fiub")
        shape = (n,) if name not in ("transition", "observation") else (n, *value.shape[1:])
        require(value.shape == shape, f"{name} returns shape {value.shape} for {n} states: return {shape}")
        require(value.dtype.kind in kind, f"{name} returns {value.dtype}: return {NAMES[kind]}")


def _check_ranges(world: POMDP, values: dict[str, np.ndarray]) -> None:
    """Every overseer observation and outcome has a name, and rewards are finite."""
    for name, names in (("overseer_observation", world.overseer_labels), ("outcome", world.outcomes)):
        low, high = values[name].min(), values[name].max()
        require(
            low >= 0 and high < len(names),
            f"{name} returns {low} to {high}, but only {len(names)} have a name: {names}",
        )
    for name in ("reward", "true_reward"):
        require(np.isfinite(values[name]).all(), f"{name} returns a number that is not finite")
    outside = [row for row in values["observation"][:ROWS] if not world.single_observation_space.contains(row)]
    require(
        not outside, f"an observation is outside {world.single_observation_space}: check its dtype, shape and bounds"
    )


def _check_aliases(states: np.ndarray, obs: np.ndarray) -> None:
    """Observations of aliased states are exactly equal, without differences from rounding."""
    exact, nearly = distinct_rows(obs)[0], distinct_rows(np.round(obs.astype(np.float64) / NEAR))[0]
    extra = np.setdiff1d(exact, nearly)
    require(
        not len(extra),
        f"the observation of state {_at(states, extra)} differs from an alias's by less than {NEAR}",
    )


def _check_forms(world: POMDP) -> None:
    """N copies and N single environments have equal trajectories, if the world has no noise."""
    if world.noise:
        return
    many, single = fresh_copy(world, 8), Single(type(world), **_without_limit(world))
    states = many.initial(8)
    many.reset(options={"state": states})
    singles = [copy.deepcopy(single) for _ in states]
    for state, env in zip(states, singles, strict=True):
        env.reset(options={"state": state})
    rng, alive = np.random.default_rng(0), np.ones(8, bool)
    for _ in range(min(16, world.max_episode_steps)):
        actions = rng.integers(world.single_action_space.n, size=8)  # type: ignore[attr-defined]
        obs, reward, terminated, truncated, info = many.step(actions)
        for i in np.flatnonzero(alive):
            reached = info["final_obs"][i] if terminated[i] or truncated[i] else obs[i]
            single_obs, single_reward, single_end, _, _ = singles[i].step(actions[i])
            same = np.array_equal(single_obs, reached) and (single_reward, single_end) == (reward[i], terminated[i])
            require(
                same,
                f"copy {i} and a single environment differ from start {states[i].tolist()} on: do not override step()",
            )
        alive &= ~terminated


def _without_limit(world: POMDP) -> dict[str, Any]:
    return {name: value for name, value in world.parameters.items() if name != "max_episode_steps"}


def _differ(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(n,) bool: rows that are not equal; nan equals nan."""
    a, b = np.asarray(a), np.asarray(b)
    if a.shape != b.shape:
        return np.ones(1, bool)
    unequal = (a != b) & ~((a != a) & (b != b))
    return unequal.reshape(len(a), -1).any(1)


def _at(states: np.ndarray, rows: np.ndarray) -> list[int]:
    """The state in the first of these rows, for an error line."""
    return states[rows[0]].tolist() if len(rows) else []
