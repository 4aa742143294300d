"""Two ways to step a world, its own functions or table look-up, with equal draws and equal trajectories.

Letters: N copies, K state variables.
"""

from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np

from envs.tables import Tables, distinct_rows
from envs.validation import check_finite, evaluate_function, prefixed
from envs.world import sample

if TYPE_CHECKING:
    from envs.world import World


class StepResult(NamedTuple):
    """The result of one step of N copies, before any reset."""

    state: np.ndarray  # (N, ...) in the form of these dynamics; the caller may write into it
    reward: np.ndarray  # (N,) float
    true_reward: np.ndarray  # (N,) float
    terminated: np.ndarray  # (N,) bool
    overseer_obs: np.ndarray  # (N,) int, or (N, F) float
    outcome: np.ndarray  # (N,) int
    bad_act: np.ndarray | None  # (N,) int; None: the world declares none


class Dynamics(Protocol):
    """Steps the copies of a world; the form of a state is the implementation's own."""

    def start(self, n: int) -> np.ndarray:
        """Draws n start states."""

    def encode(self, states: np.ndarray) -> np.ndarray:
        """(N, K) -> states in the form of these dynamics, in new memory."""

    def decode(self, state: np.ndarray) -> np.ndarray:
        """The inverse of encode."""

    def observe(self, state: np.ndarray) -> np.ndarray:
        """The agents' observations, (N, *obs)."""

    def step(self, state: np.ndarray, action: np.ndarray) -> StepResult:
        """The result of these actions, (N,) int, in these states."""


class FunctionDynamics:
    """Steps a world by its own functions; a state is a row of K numbers."""

    def __init__(self, world: "World") -> None:
        self.world = world
        self._is_checked = False  # whether the types and shapes of the functions' results have been checked
        self.start = world.initial
        self.observe = world.observation

    def encode(self, states: np.ndarray) -> np.ndarray:
        """Copies the states, since restarts are written into them."""
        return np.array(states)

    def decode(self, state: np.ndarray) -> np.ndarray:
        """Returns the states unchanged."""
        return state

    def step(self, state: np.ndarray, action: np.ndarray) -> StepResult:
        """Draws the noise and evaluates the functions."""
        world = self.world
        noise = {name: sample(world.np_random, p, len(state)) for name, p in world.noise.items()}
        if not self._is_checked:
            self._check_functions(state, action, noise)
        after = world.transition(state, action, **noise)
        return StepResult(
            after.copy(),  # restarts are written into it, and the other results may be views of `after`
            self._finite("reward", state, action, after),
            self._finite("true_reward", state, action, after),
            world.terminal(after),
            world.overseer_observation(state, action, after),
            world.outcome(after),
            world.bad_act(state, action, after) if world.bad_acts else None,
        )

    def _check_functions(self, state: np.ndarray, action: np.ndarray, noise: dict[str, np.ndarray]) -> None:
        """Raises CheckFailed, with the name of the function, if one fails or returns another type or shape."""
        with prefixed(type(self.world).__name__):
            after = evaluate_function(self.world, "transition", state, action, **noise)
            for name in ("terminal", "observation", "outcome"):
                evaluate_function(self.world, name, after)
            of_steps = ("reward", "true_reward", "overseer_observation")
            for name in (*of_steps, "bad_act") if self.world.bad_acts else of_steps:
                evaluate_function(self.world, name, state, action, after)
        self._is_checked = True

    def _finite(self, name: str, *step: np.ndarray) -> np.ndarray:
        """The rewards of a step, (N,) float; raises CheckFailed if one is nan or infinite."""
        rewards = np.asarray(getattr(self.world, name)(*step), np.float64)
        check_finite(f"{type(self.world).__name__}: {name}", rewards)
        return rewards


class TableDynamics:
    """Steps a world by its tables; a state is its row.

    Most transitions share their outputs. Two small tables are therefore looked up: the successor of a transition, and
    the number of its distinct output. The fields of an output form one record, since one look-up is cheaper than four.
    """

    def __init__(self, world: "World", tables: Tables) -> None:
        self.world, self.tables = world, tables
        n_acting, n_actions, _ = tables.successor.shape
        self._n_acting, self._n_actions = np.array(n_acting), np.array(n_actions)  # faster than Python integers
        self._successor = _narrowed(tables.successor.ravel())
        self._outputs, output = _distinct_outputs(tables)
        self._output = _narrowed(output)

    def start(self, n: int) -> np.ndarray:
        """Draws n start states as the world draws them."""
        return self.encode(self.world.initial(n))

    def encode(self, states: np.ndarray) -> np.ndarray:
        """(N, K) -> rows, as intp, which look-ups need not convert."""
        return self.tables.row(states).astype(np.intp)

    def covers(self, states: np.ndarray) -> bool:
        """Whether the tables have these states, (N, K), and every state that an episode can reach from them."""
        if states.dtype.kind not in "iub":
            return False
        found = self.tables.states.take(self.tables.row(states), 0, mode="clip")
        return self.tables.is_closed and np.array_equal(found, states)

    def decode(self, state: np.ndarray) -> np.ndarray:
        """Rows -> (N, K)."""
        return self.tables.states[state]

    def observe(self, state: np.ndarray) -> np.ndarray:
        """The agents' observations, (N, *obs)."""
        return self.tables.view.take(state, 0)

    def step(self, state: np.ndarray, action: np.ndarray) -> StepResult:
        """Draws the noise and looks up successors and outputs at one index."""
        at = state * self._n_actions
        at += action
        for p in self.world.noise.values():
            at = at * len(p) + sample(self.world.np_random, p, len(state))
        after = self._successor.take(at).astype(np.intp)  # converted once instead of in each look-up
        output = self._outputs.take(self._output.take(at))
        codebook = self.tables.overseer_codebook
        return StepResult(
            after,
            output["reward"],
            output["true_reward"],
            after >= self._n_acting,
            output["overseer_obs"] if codebook is None else codebook.take(output["overseer_obs"], 0),
            output["outcome"],
            output["bad_act"] if self.tables.bad_act.size else None,
        )


def _narrowed(numbers: np.ndarray) -> np.ndarray:
    """The same integers in the narrowest type, so that more of them fit into the processor's cache."""
    return numbers.astype(np.min_scalar_type(numbers.max()))


def _distinct_outputs(tables: Tables) -> tuple[np.ndarray, np.ndarray]:
    """The distinct outputs of a transition, as records, and the number of each transition's output, (S_A A Z,) int."""
    columns = {
        "reward": tables.reward.ravel(),
        "true_reward": tables.true_reward.ravel(),
        "overseer_obs": tables.overseer_obs.ravel(),
        "outcome": tables.outcome[tables.successor.ravel()],
    }
    if tables.bad_act.size:
        columns["bad_act"] = tables.bad_act.ravel()
    first, output = distinct_rows(np.column_stack(list(columns.values())).astype(np.float64))
    dtype = np.dtype([(name, column.dtype) for name, column in columns.items()], align=True)
    outputs = np.empty(len(first), dtype)
    for name, column in columns.items():
        outputs[name] = column[first]
    return outputs, output
