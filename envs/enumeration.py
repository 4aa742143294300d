"""Enumerates the reachable states of a world and tabulates its functions.

Every action and every value of the noise is tried in every state that is not terminal, through the world's own
functions. The author only implements `starts()`.

Letters: S states of which the first S_A are not terminal, A actions, Z values of the noise, O observations.
"""

import functools
import itertools
from typing import TYPE_CHECKING, Any

import numpy as np

from envs import validation
from envs.tables import NotEnumerable, Tables, distinct_rows, make_index

if TYPE_CHECKING:
    from envs.world import World

MAX_STATES = 1_000_000


def compile_world(world: Any) -> Tables:
    """The tables of a world or of a wrapped world; raises NotEnumerable."""
    tabulate = getattr(type(world), "tabulate", None)  # of the class: a wrapper may forward attributes
    if tabulate is None:
        raise NotEnumerable(
            f"{type(world).__name__} has no tables: evaluate it by sampling, or derive it from envs.POMDP"
        )
    return tabulate(world)


@functools.lru_cache(maxsize=16)
def cached_tables(world_class: Any, **parameters: Any) -> Tables:
    """The tables of world_class(**parameters), cached in memory."""
    world = world_class(1, **parameters)
    starts, probabilities = world.starts()
    validation.check_distributions(world, starts, probabilities)
    world.reset(seed=0)
    states = _closure(world, starts)
    keys = make_index(states)
    acting = states[~world.terminal(states)]
    steps = [_step(world, acting, action, noise) for action, noise in _moves(world)]
    shape = (len(acting), int(world.single_action_space.n), -1)
    next_state, reward, true_reward, overseer_obs = (
        np.stack(column, 1).reshape(shape) for column in zip(*((keys.lookup(s[0]), *s[1:]) for s in steps), strict=True)
    )
    _refuse_impure(world, validation.sample_states(acting), validation.sample_states(states))
    view = world.observation(states)
    first, observation = distinct_rows(view[: len(acting)])
    return Tables(
        states=states,
        successor=next_state,
        noise=functools.reduce(np.multiply.outer, map(np.array, world.noise.values()), np.ones(1)).ravel(),
        reward=reward.astype(np.float64),
        true_reward=true_reward.astype(np.float64),
        overseer_obs=overseer_obs,
        observations=view[first],
        observation=observation,
        view=view,
        outcome=world.outcome(states),
        watched=world.watched(states),
        start=keys.lookup(starts),
        start_probability=probabilities,
        gamma=world.gamma,
        horizon=validation.horizon(world, states, next_state),
        outcomes=world.outcomes,
        keys=keys,
    )


def _moves(world: "World") -> list[tuple[int, dict[str, int]]]:
    """Every action combined with every value of the noise."""
    actions = range(int(world.single_action_space.n))  # type: ignore[attr-defined]
    values = itertools.product(*(range(len(p)) for p in world.noise.values()))
    return [
        (action, dict(zip(world.noise, value, strict=True))) for action, value in itertools.product(actions, values)
    ]


def _transition(world: "World", states: np.ndarray, action: int, noise: dict[str, int]) -> np.ndarray:
    n = len(states)
    return world.transition(states, np.full(n, action), **{name: np.full(n, value) for name, value in noise.items()})


def _step(world: "World", states: np.ndarray, action: int, noise: dict[str, int]) -> tuple[np.ndarray, ...]:
    """Next states (n, K), proxy rewards, true rewards and overseer observations (n,) of one move in every state."""
    after = _transition(world, states, action, noise)
    step = (states, np.full(len(states), action), after)
    return after, world.reward(*step), world.true_reward(*step), world.overseer_observation(*step)


def _refuse_impure(world: "World", acting: np.ndarray, states: np.ndarray) -> None:
    """Evaluates every function twice; raises ValueError if the results differ."""
    names = ("transition", "reward", "true_reward", "overseer_observation")
    for action, noise in _moves(world):
        after, *results = _step(world, acting, action, noise)
        step = (acting, np.full(len(acting), action), after)
        again = [_transition(world, acting, action, noise), *(getattr(world, name)(*step) for name in names[1:])]
        for name, first, second in zip(names, (after, *results), again, strict=True):
            validation.check_repeatable(world, name, acting, first, second)
    for name in ("observation", "terminal", "outcome", "watched"):
        function = getattr(world, name)
        validation.check_repeatable(world, name, states, function(states), function(states))


def _closure(world: "World", starts: np.ndarray) -> np.ndarray:
    """Every reachable state, (S, K), terminal states last."""
    states = frontier = starts[distinct_rows(starts)[0]]
    while len(frontier):
        acting = frontier[~world.terminal(frontier)]
        reached = [_transition(world, acting, action, noise) for action, noise in _moves(world)]
        known = len(states)
        found = np.concatenate([states, *reached])
        states = found[distinct_rows(found)[0]]
        frontier = states[known:]
        refuse_above_limit(world, len(states))
    return states[np.argsort(world.terminal(states), kind="stable")]


def refuse_above_limit(world: "World", n_states: int) -> None:
    """Raises NotEnumerable if a world has more states than the limit."""
    if n_states > MAX_STATES:
        raise NotEnumerable(
            f"{type(world).__name__} has at least {n_states} states, more than the {MAX_STATES} that tables may have: "
            "evaluate it by sampling, or make it smaller for exact numbers"
        )
