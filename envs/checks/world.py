"""Checks the functions of a world: pure, of the right types and ranges, and independent of the other copies.

An observation that changes between two calls, or that differs from its alias's by rounding, reveals more to the agent
than the world's author intended.

Letters: n steps of experience, N copies, K state variables.
"""

import copy
from typing import Any

import numpy as np

from envs import validation
from envs.checks.declarations import check_declarations
from envs.checks.transitions import (
    OF_STATES,
    Transitions,
    evaluate_functions,
    fresh_copy,
    sample_transitions,
)
from envs.pomdp import POMDP
from envs.tables import NotEnumerable, distinct_rows, hashed
from envs.validation import CheckFailed, differing_rows, require
from envs.world import World

__all__ = ["CheckFailed", "check_functions", "check_world"]

NEAR = 1e-6  # observations that differ by less are taken to be aliases
ROWS = 64  # steps on which functions are also evaluated one by one
STARTS = 256  # start states drawn


def check_world(world: POMDP) -> None:
    """Checks a world; raises CheckFailed at the first fault."""
    check_declarations(world)
    check_functions(world)


def check_functions(world: POMDP) -> None:
    """Checks the functions of a world; raises CheckFailed at the first fault."""
    check_start_states(world)
    steps = sample_transitions(world)
    values = _check_pure(world, steps)
    _check_alike(world, steps, values)
    _check_ranges(world, values)
    _check_aliases(steps.next_state, values["observation"])


def read_starts(world: POMDP) -> tuple[np.ndarray, np.ndarray] | None:
    """The start distribution; None if the world has none that can be listed."""
    try:
        return validation.checked_starts(world)
    except NotEnumerable:
        return None


def check_start_states(world: POMDP) -> None:
    """Checks `starts` and `initial`, of which a world needs one."""
    starts = read_starts(world)
    own_initial = type(world).initial is not World.initial
    require(
        own_initial or type(world).starts is not World.starts,
        "there is neither starts() nor initial(): implement starts(), or initial() for a world without tables",
    )
    if starts is not None:
        validation.check_starts(world, *starts)
    drawn = _check_initial(world)
    count, n = len(world.variables), drawn.shape[1]
    require(count in (0, n), f"variables has {count} names for {n} state variables: give one for each")
    if starts is not None and own_initial:
        other = np.flatnonzero(~np.isin(hashed(drawn), hashed(starts[0])))
        require(
            not len(other),
            f"initial() draws state {_at(drawn, other)}, which starts() does not list: let both agree",
        )


def _check_initial(world: POMDP) -> np.ndarray:
    """Checks that `initial` returns n states, the same ones for the same generator; returns some."""
    duplicate = fresh_copy(world, STARTS)
    generator_state = duplicate.np_random.bit_generator.state
    drawn = duplicate.initial(STARTS)
    require(
        isinstance(drawn, np.ndarray) and drawn.ndim == 2 and len(drawn) == STARTS,
        f"initial({STARTS}) returns {validation.described(drawn)}: return an array ({STARTS}, K)",
    )
    duplicate.np_random.bit_generator.state = generator_state
    unequal = np.flatnonzero(differing_rows(drawn, duplicate.initial(STARTS)))
    require(
        not len(unequal), "initial() returns two results with one state of the generator: draw from np_random alone"
    )
    ended = np.flatnonzero(validation.evaluate_function(world, "terminal", drawn))
    require(not len(ended), f"initial() draws the terminal state {_at(drawn, ended)}: draw other states")
    return drawn


def _check_pure(world: POMDP, steps: Transitions) -> dict[str, np.ndarray]:
    """Every function returns equal values twice, draws nothing, and writes into neither arguments nor old results."""
    world.reset(seed=0)
    generator_state = world.np_random.bit_generator.state
    results = evaluate_functions(world, steps)
    values = copy.deepcopy(results)
    require(
        world.np_random.bit_generator.state == generator_state,
        "a function other than initial() draws from np_random: declare the random variable in `noise`",
    )
    second = evaluate_functions(world, steps)
    for name, value in values.items():
        states = steps.next_state if name in OF_STATES else steps.state
        validation.check_repeatable(name, states, value, second[name])
    evaluate_functions(world, steps.rows(slice(None, None, -1)))
    for name, value in values.items():
        require(
            not differing_rows(value, results[name]).any(),
            f"{name} returns an array that it overwrites in the next call: return a new one",
        )
    return values


def _check_alike(world: POMDP, steps: Transitions, values: dict[str, np.ndarray]) -> None:
    """The value for a copy does not depend on the other copies."""
    for i in range(min(ROWS, len(steps.state))):
        alone = evaluate_functions(world, steps.rows(slice(i, i + 1)))
        for name, value in alone.items():
            require(
                not differing_rows(value, values[name][i : i + 1]).any(),
                f"{name} of state {steps.next_state[i].tolist()} depends on other copies: compute rows separately",
            )


def _check_ranges(world: POMDP, values: dict[str, np.ndarray]) -> None:
    """Overseer observations and outcomes have names, rewards are finite, observations lie in their space."""
    validation.check_overseer_observation(world, values["overseer_observation"])
    validation.check_labels("outcome", values["outcome"], world.outcomes)
    if world.bad_acts:
        validation.check_bad_act(world.bad_acts, values["bad_act"])
    for name in ("reward", "true_reward"):
        validation.check_finite(name, values[name])
    space, obs = world.single_observation_space, values["observation"]
    expected = f"{space.dtype} of shape {space.shape}"
    require(
        obs.dtype == space.dtype and obs.shape[1:] == space.shape,
        f"observation returns {obs.dtype} of shape {obs.shape[1:]} for each state: return {expected}, as its space",
    )
    outside = [row for row in obs[:ROWS] if not space.contains(row)]
    require(not outside, f"an observation is outside {space}: check its bounds")


def _check_aliases(states: np.ndarray, obs: np.ndarray) -> None:
    """Observations of aliased states are exactly equal, without differences from rounding."""
    exact, nearly = distinct_rows(obs)[0], distinct_rows(np.round(obs.astype(np.float64) / NEAR))[0]
    extra = np.setdiff1d(exact, nearly)
    require(
        not len(extra),
        f"the observation of state {_at(states, extra)} differs from an alias's by less than {NEAR}: round it",
    )


def _at(states: np.ndarray, rows: np.ndarray) -> Any:
    """The state in the first of these rows, for an error line."""
    return states[rows[0]].tolist() if len(rows) else []
