"""A world moves by its own functions or by table look-up: same draws, same trajectories.

Letters: N copies, K state variables.
"""

from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np

from envs.array_pool import ArrayPool
from envs.tables import Tables, distinct_rows
from envs.world import sample

if TYPE_CHECKING:
    from envs.world import World


class StepResult(NamedTuple):
    """What one step of N copies leads to, before any reset."""

    state: np.ndarray  # (N, ...) as these dynamics keep it; the caller's to write into
    reward: np.ndarray  # (N,) float
    true_reward: np.ndarray  # (N,) float
    terminated: np.ndarray  # (N,) bool
    overseer_obs: np.ndarray  # (N,) int
    outcome: np.ndarray  # (N,) int


class Dynamics(Protocol):
    """What moves the copies of a world."""

    def start(self, n: int) -> np.ndarray:
        """n states of the start distribution."""

    def encode(self, states: np.ndarray) -> np.ndarray:
        """(N, K) -> the form in which these dynamics keep states."""

    def decode(self, state: np.ndarray) -> np.ndarray:
        """The inverse of encode."""

    def observe(self, state: np.ndarray) -> np.ndarray:
        """The agents' observations, (N, *obs)."""

    def step(self, state: np.ndarray, action: np.ndarray) -> StepResult:
        """Where N copies get to by these actions, (N,) int."""


class FunctionDynamics:
    """A world moved by its own functions; a state is a row of K numbers."""

    def __init__(self, world: "World") -> None:
        self.world = world
        self.start = world.initial
        self.observe = world.observation

    def encode(self, states: np.ndarray) -> np.ndarray:
        """A copy, for the caller's array is not ours to change."""
        return np.array(states)

    def decode(self, state: np.ndarray) -> np.ndarray:
        """The same."""
        return state

    def step(self, state: np.ndarray, action: np.ndarray) -> StepResult:
        """By the seven functions, with every noise drawn."""
        world = self.world
        noise = {name: sample(world.np_random, p, len(state)) for name, p in world.noise.items()}
        after = world.transition(state, action, **noise)
        return StepResult(
            after.copy(),  # restarts are written into it, and what is told may be a view of it
            np.asarray(world.reward(state, action, after), np.float64),
            np.asarray(world.true_reward(state, action, after), np.float64),
            world.terminal(after),
            world.overseer_observation(state, action, after),
            world.outcome(after),
        )


class TableDynamics:
    """A world moved by its tables; a state is its row.

    Steps are of few kinds by what they tell, so two small tables are looked up: where a step leads, and its kind.
    All that a kind tells is one record, for one look costs less than four; what is given out are its fields.
    """

    def __init__(self, world: "World", tables: Tables) -> None:
        self.world, self.tables = world, tables
        self._blank = ArrayPool((world.num_envs, *tables.view.shape[1:]), tables.view.dtype)
        n_acting, n_actions, _ = tables.successor.shape
        self._n_acting, self._n_actions = np.array(n_acting), np.array(n_actions)  # a Python number costs more a step
        self._successor = _small(tables.successor.ravel())
        self._told, kind = _kinds(tables)
        self._kind = _small(kind)

    def start(self, n: int) -> np.ndarray:
        """Drawn as the world draws them."""
        return self.encode(self.world.initial(n))

    def encode(self, states: np.ndarray) -> np.ndarray:
        """(N, K) -> rows, of the type that look-ups need not convert."""
        return self.tables.row(states).astype(np.intp)

    def decode(self, state: np.ndarray) -> np.ndarray:
        """Rows -> (N, K)."""
        return self.tables.states[state]

    def observe(self, state: np.ndarray) -> np.ndarray:
        """The agents' observations, (N, *obs)."""
        if len(state) != self.world.num_envs:
            return self.tables.view.take(state, 0)
        return self.tables.view.take(state, 0, self._blank(), "clip")  # "raise" would buffer

    def step(self, state: np.ndarray, action: np.ndarray) -> StepResult:
        """One index for all tables."""
        at = state * self._n_actions
        at += action
        for p in self.world.noise.values():
            at = at * len(p) + sample(self.world.np_random, p, len(state))
        after = self._successor.take(at).astype(np.intp)  # once, not in each look-up that it goes into
        told = self._told.take(self._kind.take(at))
        return StepResult(
            after,
            told["reward"],
            told["true_reward"],
            after >= self._n_acting,
            told["overseer_obs"],
            told["outcome"],
        )


def _small(numbers: np.ndarray) -> np.ndarray:
    """The same whole numbers in few bytes, so that more of them stay in the processor's cache."""
    return numbers.astype(np.min_scalar_type(numbers.max()))


def _kinds(tables: Tables) -> tuple[np.ndarray, np.ndarray]:
    """What a step can tell, (kinds,) records without repetition, and which of them each step tells, (S_A A Z,) int."""
    columns = {
        "reward": tables.reward.ravel(),
        "true_reward": tables.true_reward.ravel(),
        "overseer_obs": tables.overseer_obs.ravel(),
        "outcome": tables.outcome[tables.successor.ravel()],
    }
    first, kind = distinct_rows(np.column_stack(list(columns.values())).astype(np.float64))
    told = np.empty(len(first), np.dtype([(name, column.dtype) for name, column in columns.items()], align=True))
    for name, column in columns.items():
        told[name] = column[first]
    return told, kind
