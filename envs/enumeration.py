"""Enumerates the reachable states of a world and tabulates its functions.

Every action and every value of the noise is tried in every state that is not terminal, through the world's own
functions. The author only implements `starts()`.

A state that can be reached only after the time limit is left out. If the time limit cuts the enumeration off, states
first reached at the time limit have themselves as successor, and rewards and overseer observations of 0. No episode
acts in them, so every number over the horizon of an episode that begins in a start state is exact.

Letters: S states of which the first S_A are not terminal, A actions, Z values of the noise, O observations, H steps of
the time limit.
"""

import functools
import itertools
import sys
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from envs import validation
from envs.codebook import make_codes
from envs.tables import NotEnumerable, RowSet, Tables, distinct_rows, make_index

if TYPE_CHECKING:
    from envs.world import World

MAX_STATES = 1_000_000
MAX_DEPTH = 100_000  # steps from the start, in a world without a time limit
PROGRESS_SECONDS = 2.0


def print_progress(line: str) -> None:
    """Prints a line on stderr if that is a terminal."""
    if sys.stderr.isatty():
        print(line, file=sys.stderr, flush=True)


on_progress: Callable[[str], None] = print_progress  # called every PROGRESS_SECONDS; replace it to redirect


def compile_world(world: Any) -> Tables:
    """The tables of a world or of a wrapped world.

    Raises:
        NotEnumerable: the world has too many states, no `starts()`, or states that are not integers.
        CheckFailed: a ValueError of one line; the tables of the world would be wrong.
    """
    tabulate = getattr(type(world), "tabulate", None)  # of the class: a wrapper may forward attributes
    if tabulate is None:
        raise NotEnumerable(
            f"{type(world).__name__} has no tables: evaluate it by sampling, or derive it from envs.POMDP"
        )
    return tabulate(world)


@functools.lru_cache(maxsize=16)
def cached_tables(world_class: Any, **parameters: Any) -> Tables:
    """The tables of world_class(**parameters), cached in memory."""
    return make_tables(world_class(1, **parameters))


def make_tables(world: "World") -> Tables:
    """Enumerates a world that has not been reset."""
    with validation.prefixed(type(world).__name__):
        starts, probabilities = validation.checked_starts(world)
        validation.require_integers(type(world).__name__, starts)
        validation.check_noise(world)
        validation.check_starts(world, starts, probabilities)
        world.reset(seed=0)  # type: ignore[attr-defined]
        return _tables(world, starts, probabilities)


def _tables(world: "World", starts: np.ndarray, probabilities: np.ndarray) -> Tables:
    progress = _Progress(world)
    found = _closure(world, starts, progress)
    states, n_acting = found.states, found.n_acting
    keys = make_index(states)
    steps, codebook = _step_tables(world, found, keys.lookup, progress)
    view = validation.evaluate_function(world, "observation", states)
    first, observation = distinct_rows(view[:n_acting])
    return Tables(
        states=states,
        successor=steps["successor"],
        noise=functools.reduce(np.multiply.outer, map(np.array, world.noise.values()), np.ones(1)).ravel(),
        reward=steps["reward"].astype(np.float64),
        true_reward=steps["true_reward"].astype(np.float64),
        overseer_obs=steps["overseer_observation"],
        observations=view[first],
        observation=observation,
        view=view,
        outcome=validation.evaluate_function(world, "outcome", states),
        watched=validation.evaluate_function(world, "watched", states),
        start=keys.lookup(starts),
        start_probability=probabilities,
        gamma=world.gamma,
        horizon=validation.horizon(world, states, steps["successor"]),
        outcomes=world.outcomes,
        keys=keys,
        is_closed=bool(found.has_successors.all()),
        overseer_codebook=codebook,
        **({"bad_act": steps["bad_act"].astype(np.int8)} if world.bad_acts else {}),
    )


class _Progress:
    """Reports at intervals of PROGRESS_SECONDS."""

    def __init__(self, world: "World") -> None:
        self._name, self._started = type(world).__name__, time.monotonic()
        self._due = self._started + PROGRESS_SECONDS

    def __call__(self, line: str) -> None:
        now = time.monotonic()
        if now >= self._due:
            self._due = now + PROGRESS_SECONDS
            on_progress(f"{self._name}: {line} ({now - self._started:.0f} s)")


class _Closure(NamedTuple):
    states: np.ndarray  # (S, K) int, terminal states last
    n_acting: int  # S_A
    has_successors: np.ndarray  # (S_A,) bool: False for states first reached at the time limit


def _closure(world: "World", starts: np.ndarray, progress: _Progress) -> _Closure:
    """Every state that an episode can reach."""
    limited = world.max_episode_steps <= validation.NO_LIMIT
    limit = world.max_episode_steps if limited else MAX_DEPTH
    found = RowSet(starts.shape[1])
    frontier = found.add(starts)
    levels, terminal = [frontier], [validation.evaluate_function(world, "terminal", frontier)]
    depth, acting = 0, frontier
    while len(acting := frontier[~terminal[-1]]) and depth < limit:
        depth += 1
        reached = [after for after, _, _ in _transitions(world, acting)]
        frontier = found.add(np.concatenate(reached))
        refuse_above_limit(world, len(found))
        levels.append(frontier)
        terminal.append(validation.evaluate_function(world, "terminal", frontier))
        progress(f"{len(found)} states found, up to {depth} steps from the start")
    if len(acting) and not limited:
        raise NotEnumerable(
            f"{type(world).__name__} has new states {limit} steps from the start and no time limit: "
            "give it max_episode_steps, or evaluate it by sampling"
        )
    states, is_terminal = np.concatenate(levels), np.concatenate(terminal)
    has_successors = np.ones(len(states), bool)
    has_successors[len(states) - len(frontier) :] = not len(acting)
    order = np.argsort(is_terminal, kind="stable")
    n_acting = len(states) - int(is_terminal.sum())
    return _Closure(states[order], n_acting, has_successors[order][:n_acting])


def _moves(world: "World") -> list[tuple[int, dict[str, int]]]:
    """Every action combined with every value of the noise."""
    actions = range(int(world.single_action_space.n))  # type: ignore[attr-defined]
    values = itertools.product(*(range(len(p)) for p in world.noise.values()))
    return [
        (action, dict(zip(world.noise, value, strict=True))) for action, value in itertools.product(actions, values)
    ]


def _transitions(world: "World", states: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]]:
    """The next states, the actions and the noise of every move, made in each of the states, (n, K)."""
    n = len(states)
    for action, values in _moves(world):
        actions, noise = np.full(n, action), {name: np.full(n, value) for name, value in values.items()}
        yield validation.evaluate_function(world, "transition", states, actions, **noise), actions, noise


def _step_tables(
    world: "World", found: _Closure, row: Callable[[np.ndarray], np.ndarray], progress: _Progress
) -> tuple[dict[str, np.ndarray], np.ndarray | None]:
    """Successors, rewards, overseer observations and bad acts, (S_A, A, Z) each, and the features' codebook, if any."""
    acting = found.states[: found.n_acting][found.has_successors]
    names = _step_functions(world)
    columns: dict[str, list[np.ndarray]] = {name: [] for name in ("successor", *names)}
    for after, actions, _ in _transitions(world, acting):
        columns["successor"].append(row(after))
        for name in names:
            columns[name].append(validation.evaluate_function(world, name, acting, actions, after))
        progress(f"{len(acting)} states, {len(columns['reward'])} moves tabulated")
    _refuse_impure(world, validation.sample_states(acting), validation.sample_states(found.states))
    shape = (len(acting), int(world.single_action_space.n), -1)  # type: ignore[attr-defined]
    seen = np.stack(columns.pop("overseer_observation"), 1)
    validation.check_overseer_observation(world, seen)
    codebook = None
    if world.overseer_features:
        codebook, codes = make_codes(seen.reshape(-1, seen.shape[2]))
        seen = codes.reshape(seen.shape[:2])
    tables = {name: np.stack(column, 1).reshape(shape) for name, column in columns.items()}
    tables["overseer_observation"] = seen.reshape(shape)
    validation.check_finite("reward", tables["reward"])
    validation.check_finite("true_reward", tables["true_reward"])
    if world.bad_acts:
        validation.check_bad_act(world.bad_acts, tables["bad_act"])
    return tables if found.has_successors.all() else _with_self_loops(tables, found), codebook


def _step_functions(world: "World") -> tuple[str, ...]:
    """The names of the functions of a step (state, action, next_state) that the tables have."""
    return ("reward", "true_reward", "overseer_observation", *(("bad_act",) if world.bad_acts else ()))


def _with_self_loops(tables: dict[str, np.ndarray], found: _Closure) -> dict[str, np.ndarray]:
    """Adds rows for the states first reached at the time limit: no reward, and themselves as successor."""
    shape = (found.n_acting, *tables["successor"].shape[1:])
    padded = {name: np.zeros(shape, table.dtype) for name, table in tables.items()}
    padded["successor"][:] = np.arange(found.n_acting)[:, None, None]
    for name, table in tables.items():
        padded[name][found.has_successors] = table
    return padded


def _refuse_impure(world: "World", acting: np.ndarray, states: np.ndarray) -> None:
    """Evaluates every function twice; raises CheckFailed if the results differ."""
    for after, actions, noise in _transitions(world, acting):
        again = validation.evaluate_function(world, "transition", acting, actions, **noise)
        validation.check_repeatable("transition", acting, after, again)
        for name in _step_functions(world):
            first, second = (validation.evaluate_function(world, name, acting, actions, after) for _ in range(2))
            validation.check_repeatable(name, acting, first, second)
    for name in ("observation", "terminal", "outcome", "watched"):
        first, second = (validation.evaluate_function(world, name, states) for _ in range(2))
        validation.check_repeatable(name, states, first, second)


def refuse_above_limit(world: "World", n_states: int) -> None:
    """Raises NotEnumerable if a world has more states than the limit."""
    if n_states > MAX_STATES:
        raise NotEnumerable(
            f"{type(world).__name__} has at least {n_states} states, more than the {MAX_STATES} that tables may have: "
            "evaluate it by sampling, or make it smaller for exact numbers"
        )
