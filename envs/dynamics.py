"""A world moves by its own functions or by table look-up: same draws, same trajectories.

Letters: N copies, K state variables.
"""

from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np

from envs.compiled import Tables, distinct
from envs.recycled import Recycled

if TYPE_CHECKING:
    from envs.pomdp import POMDP

Array = np.ndarray


class Reached(NamedTuple):
    """What one step of N copies leads to, before any reset."""

    state: Array  # (N, ...) as these dynamics keep it; the caller's to write into
    reward: Array  # (N,) float
    true_reward: Array  # (N,) float
    terminated: Array  # (N,) bool
    overseer_obs: Array  # (N,) int
    outcome: Array  # (N,) int


class Dynamics(Protocol):
    """What moves the copies of a world."""

    def start(self, n: int) -> Array:
        """n states of the start distribution."""

    def encode(self, states: Array) -> Array:
        """(N, K) -> the form in which these dynamics keep states."""

    def decode(self, state: Array) -> Array:
        """The inverse of encode."""

    def observe(self, state: Array) -> Array:
        """The agents' observations, (N, *obs)."""

    def copy(self, obs: Array) -> Array:
        """Of the observations, (N, *obs)."""

    def step(self, state: Array, action: Array) -> Reached:
        """Where N copies get to by these actions, (N,) int."""


class Functions:
    """A world moved by its own functions; a state is a row of K numbers."""

    def __init__(self, world: "POMDP") -> None:
        self.world = world
        self.start = world.initial
        self.observe = world.observation
        self.copy = np.copy

    def encode(self, states: Array) -> Array:
        """A copy, for the caller's array is not ours to change."""
        return np.array(states)

    def decode(self, state: Array) -> Array:
        """The same."""
        return state

    def step(self, state: Array, action: Array) -> Reached:
        """By the seven functions, with every noise drawn."""
        world = self.world
        noise = {name: sample(world.np_random, p, len(state)) for name, p in world.noise.items()}
        after = world.transition(state, action, **noise)
        return Reached(
            after.copy(),  # restarts are written into it, and what is told may be a view of it
            np.asarray(world.reward(state, action, after), np.float64),
            np.asarray(world.true_reward(state, action, after), np.float64),
            world.terminal(after),
            world.overseer_observation(state, action, after),
            world.outcome(after),
        )


class Lookup:
    """A world moved by its tables; a state is its row.

    Steps are of few kinds by what they tell, so two small tables are looked up: where a step leads, and its kind.
    """

    def __init__(self, world: "POMDP", tables: Tables) -> None:
        self.world, self.tables = world, tables
        self.encode = tables.row
        self._blank = Recycled((world.num_envs, *tables.view.shape[1:]), tables.view.dtype)
        self._n_actions = tables.successor.shape[1]
        self._successor = tables.successor.ravel().astype(np.int32)
        told = (
            tables.reward.ravel(),
            tables.true_reward.ravel(),
            self._successor >= len(tables.successor),
            tables.overseer_obs.ravel(),
            tables.outcome[self._successor],
        )
        first, kind = distinct(np.column_stack(told).astype(np.float64))
        self._kind = kind.astype(np.min_scalar_type(len(first)))
        self._told = [column[first] for column in told]

    def start(self, n: int) -> Array:
        """Drawn as the world draws them."""
        return self.tables.row(self.world.initial(n))

    def decode(self, state: Array) -> Array:
        """Rows -> (N, K)."""
        return self.tables.states[state]

    def observe(self, state: Array) -> Array:
        """The agents' observations, (N, *obs)."""
        if len(state) != self.world.num_envs:
            return self.tables.view.take(state, 0)
        return self.tables.view.take(state, 0, self._blank(), "clip")  # "raise" would buffer

    def copy(self, obs: Array) -> Array:
        """Of the observations, (N, *obs)."""
        again = self._blank()
        np.copyto(again, obs)
        return again

    def step(self, state: Array, action: Array) -> Reached:
        """One index for all tables."""
        at = state * self._n_actions + action
        for p in self.world.noise.values():
            at = at * len(p) + sample(self.world.np_random, p, len(state))
        kind = self._kind.take(at).astype(np.intp)
        return Reached(self._successor.take(at), *[column.take(kind) for column in self._told])


def sample(generator: np.random.Generator, probabilities: Array | tuple[float, ...], n: int) -> Array:
    """(n,) int drawn from a finite law."""
    return np.searchsorted(np.cumsum(probabilities)[:-1], generator.random(n), side="right")
