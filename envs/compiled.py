"""A world with finitely many states is a set of tables, found by walking from its starts till nothing is new.

Every action and every value of the noise is tried in every state that is not terminal, through the world's
own functions; nothing is asked of its author but a start distribution written out.

Letters: S states of which the first S_A are not terminal, A actions, Z values of the noise, O observations.
"""

import functools
import itertools
import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from envs import lawful

if TYPE_CHECKING:
    from envs.pomdp import POMDP

Array = np.ndarray
MAX_STATES = 1_000_000
MAX_VOLUME = 4_000_000  # of a box of states that is kept whole


class NotEnumerable(ValueError):  # noqa: N818  (it is no error: the world still runs)
    """The world has no tables: it is too large, or does not write out its starts. It still runs."""


class Tables(NamedTuple):
    """A world written out. Terminal states come last; only the others are acted in."""

    states: Array  # (S, K) int
    successor: Array  # (S_A, A, Z) int, an index of states
    noise: Array  # (Z,) float: the probability of each value of the noise
    reward: Array  # (S_A, A, Z) float
    true_reward: Array  # (S_A, A, Z) float
    overseer_obs: Array  # (S_A, A, Z) int
    observations: Array  # (O, *obs): the distinct observations that an agent acts on
    observation: Array  # (S_A,) int, an index of observations
    view: Array  # (S, *obs): the observation of every state, terminal ones too
    outcome: Array  # (S,) int, an index of outcomes
    watched: Array  # (S,) bool
    start: Array  # (S0,) int, an index of states
    start_probability: Array  # (S0,) float
    gamma: float
    horizon: int  # the time limit of an episode, in steps; without one, those after which nothing weighs
    outcomes: tuple[str, ...]
    keys: "Keys | Places"

    @property
    def n_actions(self) -> int:
        """A."""
        return self.successor.shape[1]

    def row(self, states: Array) -> Array:
        """(N, K) -> (N,) int: the row of each state."""
        return self.keys.find(states)


class Keys(NamedTuple):
    """Rows under sorted 64-bit keys. Distinct rows have distinct keys: `of_rows` has compared them."""

    sorted_keys: Array  # (S,) uint64
    row: Array  # (S,) int

    @classmethod
    def of_rows(cls, rows: Array) -> "Keys":
        """Distinct rows (S, K), in their order."""
        keys = hashed(rows)
        order = np.argsort(keys)
        return cls(keys[order], order)

    def find(self, rows: Array) -> Array:
        """(N, K) -> (N,) int. Rows that are not there give a wrong row or the count of rows."""
        return self.row[np.searchsorted(self.sorted_keys[:-1], hashed(rows))]


class Places(NamedTuple):
    """Rows of small whole numbers under their place in the box that holds them: one look, no search."""

    low: Array  # (K,) int: the box's corner
    size: Array  # (K,) int: the box's sides
    row: Array  # (the box's volume,) int32

    @classmethod
    def of_rows(cls, rows: Array) -> "Places":
        """Distinct rows (S, K), in their order."""
        low = rows.min(0)
        size = rows.max(0) - low + 1
        places = cls(low, size, np.zeros(math.prod(size.tolist()), np.int32))
        places.row[places._place(rows)] = np.arange(len(rows))
        return places

    def find(self, rows: Array) -> Array:
        """(N, K) -> (N,) int. Rows that are not there give a wrong row."""
        return self.row.take(self._place(rows), mode="clip")

    def _place(self, rows: Array) -> Array:
        weights = np.append(np.cumprod(self.size[:0:-1], dtype=np.int64)[::-1], 1)
        place = functools.partial(np.matmul, dtype=np.int64)  # refuses what is not whole
        return place(rows, weights) - place(self.low, weights)


def index(rows: Array) -> Keys | Places:
    """Finds distinct rows (S, K) of whole numbers again."""
    volume = math.prod((rows.max(0) - rows.min(0) + 1).tolist())
    return (Places if volume <= MAX_VOLUME else Keys).of_rows(rows)


def hashed(rows: Array) -> Array:
    """(N, ...) -> (N,) uint64: one key a row, equal for equal rows."""
    flat = rows.reshape(len(rows), math.prod(rows.shape[1:]))
    words = flat.astype(np.int64).view(np.uint64) if flat.dtype.kind in "iub" else _scrambled(flat)
    return words @ _odd_numbers(flat.shape[1])


def _scrambled(numbers: Array) -> Array:
    """The bits of floats, stirred: those of round numbers are nearly all zero, and would add up alike."""
    words = (numbers + 0.0).astype(np.float64).view(np.uint64)  # no -0.0
    words = (words ^ (words >> np.uint64(32))) * np.uint64(0x9E3779B97F4A7C15)
    return words ^ (words >> np.uint64(29))


@functools.cache
def _odd_numbers(n: int) -> Array:
    """(n,) uint64, always the same ones."""
    return np.random.default_rng(0).integers(0, 2**63, n, dtype=np.uint64) * 2 + 1


def distinct(rows: Array) -> tuple[Array, Array]:
    """(N, ...) -> where each distinct row first occurs, in order, (O,), and which of them a row is, (N,)."""
    _, first, inverse = np.unique(hashed(rows), return_index=True, return_inverse=True)
    if not np.array_equal(rows[first[inverse]], rows):
        raise NotEnumerable("two different rows have the same key: permute the columns of the state")
    rank = np.argsort(np.argsort(first))
    return np.sort(first), rank[inverse]


def compile_world(world: Any) -> Tables:
    """The tables of a world, or of a view of one; raises NotEnumerable."""
    tabulate = getattr(type(world), "tabulate", None)  # not the instance's: a wrapper may pass names through
    if tabulate is None:
        raise NotEnumerable(
            f"{type(world).__name__} has no tables: evaluate it by sampling, or write it as an envs.POMDP"
        )
    return tabulate(world)


@functools.lru_cache(maxsize=16)
def compiled(world_class: Any, **parameters: Any) -> Tables:
    """The tables of world_class(**parameters), kept in memory."""
    world = world_class(1, **parameters)
    starts, probabilities = world.starts()
    lawful.laws(world, starts, probabilities)
    world.reset(seed=0)
    states = _closure(world, starts)
    keys = index(states)
    acting = states[~world.terminal(states)]
    steps = [_step(world, acting, action, noise) for action, noise in _moves(world)]
    shape = (len(acting), int(world.single_action_space.n), -1)
    next_state, reward, true_reward, overseer_obs = (
        np.stack(column, 1).reshape(shape) for column in zip(*((keys.find(s[0]), *s[1:]) for s in steps), strict=True)
    )
    _refuse_impure(world, lawful.some(acting), lawful.some(states))
    view = world.observation(states)
    first, observation = distinct(view[: len(acting)])
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
        start=keys.find(starts),
        start_probability=probabilities,
        gamma=world.gamma,
        horizon=lawful.horizon(world, states, next_state),
        outcomes=world.outcomes,
        keys=keys,
    )


def _moves(world: "POMDP") -> list[tuple[int, dict[str, int]]]:
    """Every action with every value of the noise."""
    actions = range(int(world.single_action_space.n))  # type: ignore[attr-defined]
    values = itertools.product(*(range(len(p)) for p in world.noise.values()))
    return [
        (action, dict(zip(world.noise, value, strict=True))) for action, value in itertools.product(actions, values)
    ]


def _transition(world: "POMDP", states: Array, action: int, noise: dict[str, int]) -> Array:
    n = len(states)
    return world.transition(states, np.full(n, action), **{name: np.full(n, value) for name, value in noise.items()})


def _step(world: "POMDP", states: Array, action: int, noise: dict[str, int]) -> tuple[Array, ...]:
    """Next states (n, K), proxy and true rewards, overseer observations (n,), of one move everywhere."""
    after = _transition(world, states, action, noise)
    told = (states, np.full(len(states), action), after)
    return after, world.reward(*told), world.true_reward(*told), world.overseer_observation(*told)


def _refuse_impure(world: "POMDP", acting: Array, states: Array) -> None:
    """Asks every function twice; raises ValueError where the answers differ."""
    names = ("transition", "reward", "true_reward", "overseer_observation")
    for action, noise in _moves(world):
        after, *told = _step(world, acting, action, noise)
        given = (acting, np.full(len(acting), action), after)
        again = [_transition(world, acting, action, noise), *(getattr(world, name)(*given) for name in names[1:])]
        for name, first, second in zip(names, (after, *told), again, strict=True):
            lawful.asked_twice(world, name, acting, first, second)
    for name in ("observation", "terminal", "outcome", "watched"):
        function = getattr(world, name)
        lawful.asked_twice(world, name, states, function(states), function(states))


def _closure(world: "POMDP", starts: Array) -> Array:
    """Every state that can be reached, (S, K), terminal states last."""
    states = fresh = starts[distinct(starts)[0]]
    while len(fresh):
        acting = fresh[~world.terminal(fresh)]
        reached = [_transition(world, acting, action, noise) for action, noise in _moves(world)]
        known = len(states)
        everything = np.concatenate([states, *reached])
        states = everything[distinct(everything)[0]]
        fresh = states[known:]
        refuse_above_limit(world, len(states))
    return states[np.argsort(world.terminal(states), kind="stable")]


def refuse_above_limit(world: "POMDP", n_states: int) -> None:
    """Raises NotEnumerable where a world has more states than tables are made for."""
    if n_states > MAX_STATES:
        raise NotEnumerable(
            f"{type(world).__name__} has at least {n_states} states, above the {MAX_STATES} of tables; "
            "it runs and can be evaluated by sampling: make it smaller for exact numbers"
        )
