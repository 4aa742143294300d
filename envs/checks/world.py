"""What the functions of a world promise: pure, alike for every copy, one truth in every form of the world.

A state whose observation changes between two calls, or differs in the last bit from its alias's, tells the
agent something that the world's author did not mean to tell.

Letters: n steps of experience, N copies, K state variables.
"""

import copy
from typing import Any

import numpy as np

from envs.checks.transitions import Transitions, evaluate_functions, fresh_copy, sample_transitions
from envs.pomdp import POMDP
from envs.registration import Single
from envs.tables import NotEnumerable, distinct_rows

NEAR = 1e-6  # observations that differ by less were meant to be equal
ROWS = 64  # copies that are also asked one by one
KINDS = {"transition": "iu", "terminal": "b", "watched": "b", "outcome": "iu", "overseer_observation": "iu"}
NAMES = {"b": "bool", "iu": "whole numbers", "fiub": "numbers"}


class CheckFailed(ValueError):  # noqa: N818  (says what happened)
    """A promise is broken; the message is one line."""


def require(kept: Any, line: str) -> None:
    """Raises CheckFailed with the line unless the promise is kept."""
    if not kept:
        raise CheckFailed(line)


def check_world(world: POMDP) -> None:
    """Returns if the world keeps its promises; raises CheckFailed with the first that it does not."""
    _check_declarations(world)
    _check_starts(world)
    steps = sample_transitions(world)
    said = _check_pure(world, steps)
    _check_alike(world, steps, said)
    _check_kinds(said)
    _check_ranges(world, said)
    _check_aliases(steps.next_state, said["observation"])
    _check_forms(world)


def _check_declarations(world: POMDP) -> None:
    """What is said of the world fits together."""
    try:
        _ = world.parameters
    except AttributeError as missing:
        require(
            False,
            f"a keyword of __init__ is not kept: {missing}; set it on self, for tables are made from it",
        )
    labels, verdicts = len(world.overseer_labels), len(world.judgement)
    require(
        labels == verdicts > 0,
        f"judgement has {verdicts} verdicts for {labels} overseer_labels: give one each",
    )
    require(0 <= world.gamma <= 1, f"gamma is {world.gamma}: a discount is between 0 and 1")
    shape, expected = np.shape(world.flags), world.single_observation_space.shape
    require(shape == expected, f"flags have shape {shape}, an observation {expected}: mark every entry")
    for name, law in world.noise.items():
        require(np.isclose(sum(law), 1) and min(law) >= 0, f"noise {name!r} is no probability law: {law}")


def _check_starts(world: POMDP) -> None:
    """A start distribution that is written out is one, and never starts at an end."""
    try:
        states, law = world.starts()
    except NotEnumerable:
        return
    require(len(states) == len(law), f"starts() gives {len(states)} states and {len(law)} probabilities")
    require(
        np.isclose(np.sum(law), 1) and np.min(law) >= 0,
        f"the start probabilities sum to {np.sum(law)}, not 1",
    )
    require(len(distinct_rows(states)[0]) == len(states), "starts() names a state twice: add up its probabilities")
    ended = np.flatnonzero(world.terminal(states))
    require(
        not len(ended),
        f"an episode would start at an end, in state {_at(states, ended)}: leave it out of starts()",
    )


def _check_pure(world: POMDP, steps: Transitions) -> dict[str, np.ndarray]:
    """Asked twice, every function says the same, draws nothing, and leaves what it was told as it was."""
    world.reset(seed=0)
    luck, told = world.np_random.bit_generator.state, copy.deepcopy(steps)
    first = copy.deepcopy(evaluate_functions(world, steps))
    kept = all(np.array_equal(a, b) for a, b in zip(told[:3], steps[:3], strict=True))
    require(kept, "a function writes into the states it is given: copy them first")
    drawn = world.np_random.bit_generator.state != luck
    require(not drawn, "a function other than initial() draws from np_random: name the chance in `noise`")
    second = evaluate_functions(world, steps)
    for name, said in first.items():
        other = np.flatnonzero(_differ(said, second[name]))
        found = f"{name} gives two answers for state {_at(steps.next_state, other)}"
        require(not len(other), f"{found}: let it depend on its arguments alone")
    return first


def _check_alike(world: POMDP, steps: Transitions, said: dict[str, np.ndarray]) -> None:
    """A copy is told the same alone as among others."""
    for i in range(min(ROWS, len(steps.state))):
        alone = evaluate_functions(world, steps.rows(slice(i, i + 1)))
        for name, answer in alone.items():
            same = not _differ(answer, said[name][i : i + 1]).any()
            require(
                same,
                f"{name} of state {steps.next_state[i].tolist()} depends on other copies: treat each alike",
            )


def _check_kinds(said: dict[str, np.ndarray]) -> None:
    """One answer a copy, of the right kind."""
    n = len(said["transition"])
    for name, answer in said.items():
        kind = KINDS.get(name, "fiub")
        shape = (n,) if name not in ("transition", "observation") else (n, *answer.shape[1:])
        require(answer.shape == shape, f"{name} gives shape {answer.shape} for {n} states: give {shape}")
        require(answer.dtype.kind in kind, f"{name} gives {answer.dtype}: give {NAMES[kind]}")


def _check_ranges(world: POMDP, said: dict[str, np.ndarray]) -> None:
    """Every number stands for something that has a name."""
    for name, names in (("overseer_observation", world.overseer_labels), ("outcome", world.outcomes)):
        low, high = said[name].min(), said[name].max()
        require(
            low >= 0 and high < len(names),
            f"{name} gives {low} to {high}, but only {len(names)} have a name: {names}",
        )
    for name in ("reward", "true_reward"):
        require(np.isfinite(said[name]).all(), f"{name} gives a number that is not finite")
    outside = [row for row in said["observation"][:ROWS] if not world.single_observation_space.contains(row)]
    require(not outside, f"an observation is outside {world.single_observation_space}: mind its dtype and bounds")


def _check_aliases(states: np.ndarray, obs: np.ndarray) -> None:
    """States that look alike look exactly alike: no difference hides below rounding."""
    exact, nearly = distinct_rows(obs)[0], distinct_rows(np.round(obs.astype(np.float64) / NEAR))[0]
    extra = np.setdiff1d(exact, nearly)
    require(
        not len(extra),
        f"the observation of state {_at(states, extra)} differs from an alias's by less than {NEAR}",
    )


def _check_forms(world: POMDP) -> None:
    """N copies, and a single environment for each, walk the same way where nothing is left to chance."""
    if world.noise:
        return
    many, single = fresh_copy(world, 8), Single(type(world), **_without_limit(world))
    states = many.initial(8)
    many.reset(options={"state": states})
    singles = [copy.deepcopy(single) for _ in states]
    for state, one in zip(states, singles, strict=True):
        one.reset(options={"state": state})
    rng, alive = np.random.default_rng(0), np.ones(8, bool)
    for _ in range(min(16, world.max_episode_steps)):
        actions = rng.integers(world.single_action_space.n, size=8)  # type: ignore[attr-defined]
        obs, reward, terminated, truncated, info = many.step(actions)
        for i in np.flatnonzero(alive):
            reached = info["final_obs"][i] if terminated[i] or truncated[i] else obs[i]
            seen, paid, over, _, _ = singles[i].step(actions[i])
            same = np.array_equal(seen, reached) and (paid, over) == (reward[i], terminated[i])
            require(
                same,
                f"copy {i} and a single environment part from state {states[i].tolist()}: override no step()",
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
    """The state in the first of these rows, for a line that names it."""
    return states[rows[0]].tolist() if len(rows) else []
