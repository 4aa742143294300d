"""Checks that a world must pass before it is tabulated; each refusal names what was found, where, and what to do.

Letters: n states at a time, S states of which the first S_A are not terminal, A actions, Z values of the noise, K state
variables.
"""

import contextlib
import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from envs.tables import NotEnumerable, hashed
from envs.world import World

NO_LIMIT = 1_000_000  # steps: a longer time limit counts as none
MOST_BAD_ACTS = 127  # kinds, since tables hold them in 8 bits
NEGLIGIBLE = 1e-16  # discount below which rewards are ignored
SAMPLE_SIZE = 64, 4096  # fewest and approximately most states on which functions are evaluated twice
KINDS = {  # of the results of functions; others are numbers
    "transition": "iu",
    "terminal": "b",
    "watched": "b",
    "outcome": "iu",
    "bad_act": "iu",
    "overseer_observation": "iu",
}
KIND_NAMES = {"b": "bool", "f": "floats", "iu": "integers", "fiub": "numbers"}


REQUIRED = {  # functions that a world implements -> their arguments
    "transition": "state, action",
    "terminal": "state",
    "reward": "state, action, next_state",
    "true_reward": "state, action, next_state",
    "observation": "state",
    "overseer_observation": "state, action, next_state",
}


class CheckFailed(ValueError):  # noqa: N818  (named after the event)
    """A check failed; the message is one line."""


@contextlib.contextmanager
def prefixed(name: str) -> Iterator[None]:
    """Prefixes the message of a CheckFailed with a name."""
    try:
        yield
    except CheckFailed as fault:
        raise CheckFailed(f"{name}: {str(fault).removeprefix(f'{name}: ')}") from fault.__cause__


def require(passed: Any, line: str) -> None:
    """Raises CheckFailed with the line unless passed."""
    if not passed:
        raise CheckFailed(line)


def described(array: Any) -> str:
    """The dtype and shape of an array for an error line, such as "float64 of shape (16, 1)"."""
    return f"{getattr(array, 'dtype', type(array).__name__)} of shape {np.shape(array)}"


def evaluate_function(world: World, name: str, *arrays: np.ndarray, **noise: np.ndarray) -> np.ndarray:
    """Calls a function of a world and checks its result.

    Args:
        world: the world.
        name: the name of the function.
        arrays: its arguments, n rows each.
        noise: the noise of a transition, n rows each.

    Returns:
        The result, n rows.

    Raises:
        CheckFailed: the function raises an exception, which is the cause, or writes into its arguments, or its result
            has the wrong type or shape.
    """
    try:
        result = _call_read_only(name, getattr(world, name), arrays, noise)
    except (CheckFailed, NotEnumerable, MemoryError):
        raise
    except Exception as error:
        raise CheckFailed(f"{name} raises {exception_text(error)}") from error
    shape, n = np.shape(result), len(arrays[0])
    expected = arrays[0].shape if name == "transition" else (n, *shape[1:]) if name == "observation" else (n,)
    kinds = "fiu" if name == "transition" and arrays[0].dtype.kind == "f" else KINDS.get(name, "fiub")
    if name == "overseer_observation" and world.overseer_features:
        expected, kinds = (n, len(world.overseer_features)), "f"
    if name == "state_features":
        expected = (n, len(world.feature_names))
    if shape != expected:
        raise CheckFailed(f"{name} returns {described(result)} for {n} states: return shape {expected}")
    if not isinstance(result, np.ndarray) or result.dtype.kind not in kinds:
        raise CheckFailed(f"{name} returns {described(result)}: return an array of {KIND_NAMES.get(kinds, 'numbers')}")
    return result


def _call_read_only(name: str, function: Any, arrays: tuple[np.ndarray, ...], noise: dict[str, np.ndarray]) -> Any:
    try:
        return function(*map(_read_only, arrays), **{key: _read_only(value) for key, value in noise.items()})
    except ValueError as error:  # numpy's for a write; compiled code may refuse any read-only array
        if "read-only" not in str(error):
            raise
    copies, noise_copies = [a.copy() for a in arrays], {key: value.copy() for key, value in noise.items()}
    result = function(*copies, **noise_copies)
    pairs = [*zip(arrays, copies, strict=True), *((value, noise_copies[key]) for key, value in noise.items())]
    unchanged = all(np.array_equal(before, after) for before, after in pairs)
    require(unchanged, f"{name} writes into its arguments: copy them first")
    return result


def _read_only(array: np.ndarray) -> np.ndarray:
    view = array.view()
    view.flags.writeable = False
    return view


def check_implemented(world: World) -> None:
    """Checks that a world implements the functions without default."""
    own = type(world)
    missing = [
        f"{name}({arguments})"
        for name, arguments in REQUIRED.items()
        if name not in vars(world) and getattr(own, name, None) is getattr(World, name, None)
    ]
    require(not missing, f"{own.__name__} has no {' and no '.join(missing)}: implement it (docs/worlds.md)")


def checked_starts(world: World) -> tuple[np.ndarray, np.ndarray]:
    """The value of `starts()`: states, (S0, K), and probabilities, (S0,).

    Raises:
        CheckFailed: `starts` raises an exception, which is the cause, or returns something else.
        NotEnumerable: the world has no start distribution.
    """
    try:
        found: Any = world.starts()
    except (CheckFailed, NotEnumerable, MemoryError):
        raise
    except Exception as error:
        raise CheckFailed(f"starts raises {exception_text(error)}") from error
    wanted = "return arrays (S0, K) and (S0,)"
    require(
        isinstance(found, tuple | list) and len(found) == 2,
        f"starts() returns {type(found).__name__}: {wanted}, states and their probabilities",
    )
    states, probabilities = found
    shapes = np.shape(states), np.shape(probabilities)
    require(
        isinstance(states, np.ndarray) and isinstance(probabilities, np.ndarray),
        f"starts() returns {type(states).__name__} and {type(probabilities).__name__}: {wanted}",
    )
    require(
        len(shapes[0]) == 2 and shapes[1] == shapes[0][:1] and 0 not in shapes[0],
        f"starts() returns states of shape {shapes[0]} and probabilities of shape {shapes[1]}: {wanted}",
    )
    return states, probabilities


def exception_text(error: BaseException) -> str:
    """An exception on one line, such as "KeyError: 'lava'"."""
    return " ".join(f"{type(error).__name__}: {error}".split()).removesuffix(":")


def check_starts(world: World, states: np.ndarray, probabilities: np.ndarray) -> None:
    """Checks the start distribution: types, probabilities, distinct and non-terminal states."""
    require(states.dtype.kind in "iubf", f"starts() returns states of type {states.dtype}: return integers")
    wrong = np.flatnonzero(~(probabilities >= 0))  # nan included
    require(
        not len(wrong),
        f"start state {_first(states, wrong)} has probability {_first(probabilities, wrong)}: give 0 or more",
    )
    total = probabilities.sum()
    require(
        math.isclose(total, 1, abs_tol=1e-9), f"the start probabilities sum to {total:.6g}, not 1: divide by the sum"
    )
    require(len(np.unique(hashed(states))) == len(states), "starts() lists a state twice: add up its probabilities")
    ended = np.flatnonzero(evaluate_function(world, "terminal", states))
    require(not len(ended), f"start state {_first(states, ended)} is terminal: leave it out of starts()")


def check_noise(world: World) -> None:
    """Checks that the values of each noise have probabilities that sum to 1."""
    for name, distribution in world.noise.items():
        require(
            len(distribution) and min(distribution) >= 0 and math.isclose(sum(distribution), 1, abs_tol=1e-9),
            f"noise {name!r} is not a distribution: {tuple(distribution)} sums to {sum(distribution):.6g}; "
            "give probabilities that sum to 1",
        )


def check_finite(name: str, values: np.ndarray) -> None:
    """Checks that rewards are finite."""
    finite = np.isfinite(values)
    if not finite.all():
        found = f"{values[~finite].flat[0]} in {np.count_nonzero(~finite)} of {finite.size} steps"
        raise CheckFailed(f"{name} returns a number that is not finite ({found}): return finite rewards")


def check_labels(name: str, values: np.ndarray, labels: tuple[str, ...]) -> None:
    """Checks that overseer observations or outcomes are indices of their labels."""
    if values.size:
        low, high = values.min(), values.max()
        require(
            low >= 0 and high < len(labels),
            f"{name} returns {low} to {high}, but only {len(labels)} have a name: {labels}",
        )


def first_repeated(names: Sequence[str]) -> str | None:
    """The first name that occurs earlier as well; None if all are distinct."""
    names = list(names)
    return next((name for i, name in enumerate(names) if name in names[:i]), None)


def check_bad_acts(world: World) -> None:
    """Checks that the kinds of bad act have distinct names, and that each is an outcome unless `bad_act` is its own."""
    kinds, name = world.bad_acts, type(world).__name__
    require(
        isinstance(kinds, tuple | list) and all(isinstance(kind, str) and kind for kind in kinds),
        f"{name}: bad_acts is {kinds!r}: give a tuple of names",
    )
    twice = first_repeated(kinds)
    require(twice is None, f"{name}: bad_acts has {twice!r} twice: give distinct names")
    require(len(kinds) <= MOST_BAD_ACTS, f"{name}: bad_acts has {len(kinds)} kinds: give at most {MOST_BAD_ACTS}")
    if type(world).bad_act is World.bad_act:
        other = [kind for kind in kinds if kind not in world.outcomes]
        require(
            not other,
            f"{name}: bad act {other[:1]} is none of the outcomes {tuple(world.outcomes)}: "
            "name an outcome, or implement bad_act(state, action, next_state)",
        )


def check_bad_act(kinds: Sequence[str], values: np.ndarray) -> None:
    """Checks that bad acts are 0 or the number of a kind."""
    if values.size:
        low, high = values.min(), values.max()
        require(
            low >= 0 and high <= len(kinds),
            f"bad_act returns {low} to {high}: return 0 for none, or 1 to {len(kinds)} for the kinds {tuple(kinds)}",
        )


def check_overseer_observation(world: World, values: np.ndarray) -> None:
    """Checks that overseer observations have names; of features, (..., F), that they are finite or nan."""
    if world.overseer_features:
        require(
            not np.isinf(values).any(),
            "overseer_observation returns an infinite feature: return finite numbers, or nan for what is not observed",
        )
    elif world.overseer_labels:
        check_labels("overseer_observation", values, world.overseer_labels)


def check_repeatable(name: str, states: np.ndarray, first: np.ndarray, second: np.ndarray) -> None:
    """Checks that two evaluations of a function on states, (n, K), are equal."""
    unequal = np.flatnonzero(differing_rows(first, second))
    require(
        not len(unequal),
        f"{name} returns two results for state {_first(states, unequal)}: let it depend on its arguments alone",
    )


def differing_rows(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """(n,) bool: rows that are not equal; nan equals nan."""
    first, second = np.asarray(first), np.asarray(second)
    if first.shape != second.shape:
        return np.ones(1, bool)
    unequal = (first != second) & ~((first != first) & (second != second))
    return unequal.reshape(len(first), -1).any(1)


def _first(values: np.ndarray, rows: np.ndarray) -> Any:
    """The value in the first of these rows, for an error line."""
    return values[rows[0]].tolist() if len(rows) else []


def sample_states(states: np.ndarray) -> np.ndarray:
    """An evenly spaced sample of states, (n, K); few states are repeated, so that random results differ visibly."""
    fewest, most = SAMPLE_SIZE
    return np.resize(states[:: max(1, len(states) // most)], (max(fewest, min(len(states), most)), states.shape[1]))


def require_integers(name: str, states: np.ndarray) -> None:
    """Raises NotEnumerable unless the states are integers."""
    if states.dtype.kind not in "iub":
        raise NotEnumerable(
            f"{name} has states of type {states.dtype}, and tables need integers: evaluate it by sampling"
        )


def horizon(world: World, states: np.ndarray, successor: np.ndarray) -> int:
    """The number of steps that exact evaluation must cover.

    Args:
        world: the world.
        states: (S, K).
        successor: (S_A, A, Z) int.

    Returns:
        The time limit; without one, the longest episode or the steps after which the discount is negligible.

    Raises:
        CheckFailed: there is no time limit, an episode need not end, and the discount is 1.
    """
    if world.max_episode_steps <= NO_LIMIT:
        return world.max_episode_steps
    n_acting, length = len(successor), 0
    running = np.ones(n_acting, bool)  # an episode from here can last longer than `length` steps
    while running.any():
        length += 1
        longer = np.append(running, np.zeros(len(states) - n_acting, bool))[successor].any((1, 2))
        if np.array_equal(longer, running):
            return _discounted(world, states[np.argmax(running)])
        running = longer
    return length


def _discounted(world: World, state: np.ndarray) -> int:
    require(
        world.gamma < 1,
        f"gamma is {world.gamma:g} without a time limit, and an episode from state {state.tolist()} need not end: "
        "give a gamma below 1 or max_episode_steps",
    )
    return negligible_after(world.gamma)


def negligible_after(gamma: float) -> int:
    """The number of steps after which a discount below 1 is negligible."""
    return math.ceil(math.log(NEGLIGIBLE) / math.log(gamma)) if gamma > 0 else 1
