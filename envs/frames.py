"""An agent that observes its last K observations instead of the current one.

The oldest comes first. Before the start of the episode they are zeros. The overseer, rewards and verdicts do not
change. Vectors are joined; arrays of several axes are joined along their channels. Discrete and MultiDiscrete
observations become one-hot vectors first, so that zeros differ from the observation 0.

Around a world with tables the result has tables again. The earlier observations of the episode are further state
variables, so training by table look-up, evaluation and optima stay exact.

Letters: K frames, N copies, S states of which the first S_A are not terminal, V state variables of the wrapped world,
A actions, Z values of the noise, O observations.
"""

import functools
import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from gymnasium import Space
from gymnasium.spaces import Box, Discrete, MultiBinary, MultiDiscrete
from gymnasium.vector import VectorEnv
from gymnasium.vector.utils import batch_space

from envs import arguments
from envs.enumeration import MAX_STATES, compile_world
from envs.snapshot import SnapshotState
from envs.tables import NotEnumerable, RowSet, Tables, distinct_rows, make_index
from envs.wrappers import AgentView, Seed

MAX_ENTRIES = 200_000_000  # of all observations of the tables
MAX_CELLS = 20_000_000  # of all histories of the tables
CHUNK = 10_000_000  # cells of histories that are held in memory at a time
CHANNELS_LAST = 2  # axis


class Frames(AgentView):
    """Stacks the last K observations of each copy."""

    def __init__(self, env: VectorEnv, count: int) -> None:
        """Wraps an environment.

        Args:
            env: the environment; its observations are Box, Discrete, MultiDiscrete or MultiBinary.
            count: K.

        Raises:
            ValueError: K is less than 1, or the observations have another space.
        """
        super().__init__(env)
        self.count = arguments.at_least("count", count, 1)
        self._single = _array_space(env.single_observation_space)
        self._axis = _channel_axis(self._single.shape or ())
        self.single_observation_space = self._stacked_space()
        self.observation_space = batch_space(self.single_observation_space, env.num_envs)
        shape = (env.num_envs, self.count, *(self._single.shape or ()))
        self._frames = np.zeros(shape, self._single.dtype)  # (N, K, *obs), the oldest first

    def _stacked_space(self) -> Space:
        """The space of K observations."""
        space = self._single
        if isinstance(space, Box):
            low, high = (np.concatenate([bound] * self.count, self._axis) for bound in (space.low, space.high))
            if self.count > 1:  # the zeros before the start of an episode
                low, high = np.minimum(low, 0), np.maximum(high, 0)
            return Box(low, high, dtype=space.dtype)
        shape = np.concatenate([np.zeros(space.shape or (), bool)] * self.count, self._axis).shape
        return MultiBinary(shape[0] if len(shape) == 1 else shape)

    @property
    def flags(self) -> np.ndarray:
        """(*obs',) bool: the flags of the environment in each frame."""
        flags = _array(self.env.flags[None], self.env.single_observation_space, flags=True)[0]  # type: ignore[attr-defined]
        return np.concatenate([flags] * self.count, self._axis)

    def _joined(self, frames: np.ndarray) -> np.ndarray:
        """(N, K, *obs) -> (N, *obs'), in new memory."""
        shape = (len(frames), *self.single_observation_space.shape)  # type: ignore[misc]
        return np.moveaxis(frames, 1, 1 + self._axis).copy(order="C").reshape(shape)

    def reset(self, *, seed: Seed = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict[str, Any]]:
        """Restarts every copy, or those marked by the option "reset_mask"."""
        started = np.array((options or {}).get("reset_mask", np.ones(self.num_envs, bool)))  # Gymnasium removes it
        obs, info = self.env.reset(seed=seed, options=options)  # type: ignore[arg-type]  # a list is one of ours
        self._start(_array(obs, self.env.single_observation_space), started)
        return self._joined(self._frames), info

    def step(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Steps every copy; final observations in `info` are stacked, too."""
        obs, reward, terminated, truncated, info = self.env.step(actions)
        space, ended = self.env.single_observation_space, info.get("_final_obs", np.zeros(self.num_envs, bool))
        reached = np.array(obs)
        for i in np.flatnonzero(ended):
            reached[i] = info["final_obs"][i]
        self._frames[:, :-1] = self._frames[:, 1:].copy()
        self._frames[:, -1] = _array(reached, space)
        if ended.any():
            final = np.full(self.num_envs, None, object)
            for i, last in zip(np.flatnonzero(ended), self._joined(self._frames[ended]), strict=True):
                final[i] = last
            info["final_obs"] = final
            self._start(_array(obs, space), ended)
        return self._joined(self._frames), reward, terminated, truncated, info

    def _start(self, obs: np.ndarray, started: np.ndarray) -> None:
        """Forgets the earlier observations of the copies whose episode starts, (N,) bool."""
        self._frames[started] = 0
        self._frames[started, -1] = obs[started]

    def snapshot(self) -> SnapshotState:
        """The wrapped environment's snapshot and the frames."""
        return {**super().snapshot(), "frames": self._frames.copy()}

    def restore(self, state: SnapshotState) -> None:
        """Continues from a snapshot."""
        super().restore(state)
        self._frames = np.array(state["frames"])

    def base_states(self, states: np.ndarray) -> np.ndarray:
        """States of the world inside all wrappers, from its own or from those of the tables, (..., V + K - 1)."""
        inside = states[..., : self._variables]
        return self.env.base_states(inside) if hasattr(self.env, "base_states") else inside

    @functools.cached_property
    def _variables(self) -> int:
        """V."""
        try:
            return compile_world(self.env).states.shape[1]
        except NotEnumerable:
            return np.iinfo(np.int64).max  # without tables there are no states but the world's own

    def observation(self, state: np.ndarray) -> np.ndarray:
        """What an agent observes in these states, if its episode starts in them."""
        obs = self.env.observation(self.base_states(state))  # type: ignore[attr-defined]
        frames = np.zeros((len(obs), self.count, *(self._single.shape or ())), self._single.dtype)
        frames[:, -1] = _array(obs, self.env.single_observation_space)
        return self._joined(frames)

    def state_features(self, state: np.ndarray) -> np.ndarray:
        """The features of a state of the world or of the tables."""
        return self.env.state_features(state[..., : self._variables])  # type: ignore[attr-defined]

    def picture(self, state: np.ndarray) -> Any:
        """The picture of a state of the world or of the tables."""
        return self.env.picture(state[..., : self._variables])  # type: ignore[attr-defined]

    def tabulate(self) -> Tables:
        """The world's tables with the earlier observations in the state; raises NotEnumerable."""
        return self._tables

    @functools.cached_property
    def _tables(self) -> Tables:
        base = compile_world(self.env)
        if self.count == 1:
            view = _array(base.view, self.env.single_observation_space)
            return base._replace(view=view, observations=_array(base.observations, self.env.single_observation_space))
        entries = self.count * math.prod(self._single.shape or ())
        limit = min(MAX_STATES, MAX_CELLS // self.count, MAX_ENTRIES // entries)
        return self._with_history(base, _reachable(type(self.env.unwrapped).__name__, base, self.count - 1, limit))

    def _with_history(self, base: Tables, found: "_Product") -> Tables:
        """The tables of the world whose state includes the last K - 1 observations."""
        row, history, acting = found.row, found.history, found.row[: found.n_acting]
        states = np.column_stack((base.states[row], history))
        keys = make_index(states)
        view = self._views(base, row, history)
        now = np.column_stack((base.observation[acting], history[: found.n_acting]))
        first, observation = distinct_rows(now)
        return base._replace(
            states=states,
            successor=found.successor,
            reward=_of_steps(base.reward, found),
            true_reward=_of_steps(base.true_reward, found),
            overseer_obs=_of_steps(base.overseer_obs, found),
            bad_act=_of_steps(base.bad_act, found) if base.bad_act.size else base.bad_act,
            observations=view[first],
            observation=observation,
            view=view,
            outcome=base.outcome[row],
            watched=base.watched[row],
            start=found.start,
            keys=keys,
            is_closed=bool(found.has_successors.all()),
        )

    def _views(self, base: Tables, row: np.ndarray, history: np.ndarray) -> np.ndarray:
        """(S, *obs'): the last K observations in each state."""
        space = self.env.single_observation_space
        known = np.concatenate(
            [_array(base.observations, space), np.zeros((1, *self._single.shape), self._single.dtype)]
        )
        frames = np.concatenate([known[history], _array(base.view, space)[row][:, None]], 1)
        return self._joined(frames.astype(self._single.dtype, copy=False))


class _Product(NamedTuple):
    """The states of a world together with the earlier observations of the episode."""

    row: np.ndarray  # (S,) int: the row of the world's state, ascending
    history: np.ndarray  # (S, K - 1) int: indices of observations, the oldest first; O: before the start
    n_acting: int  # S_A
    successor: np.ndarray  # (S_A, A, Z) int; the state itself where it has no successors
    start: np.ndarray  # (S0,) int
    has_successors: np.ndarray  # (S_A,) bool: False for states first reached at the time limit


def _reachable(name: str, base: Tables, length: int, limit: int) -> _Product:
    """Every state and history that an episode can reach within the time limit.

    Args:
        name: of the world, for the error.
        base: its tables.
        length: K - 1, the number of earlier observations.
        limit: the largest number of states.

    Raises:
        NotEnumerable: there are too many.
    """
    n_acting = len(base.successor)
    blank = np.flatnonzero(~base.observations.reshape(len(base.observations), -1).any(1))
    before = int(blank[0]) if len(blank) else len(base.observations)  # equal observations have one number
    found = RowSet(1 + length)
    starts = np.column_stack((base.start, np.full((len(base.start), length), before)))
    frontier = found.add(starts)
    levels, expanded, depth = [frontier], [], 0
    while len(acting := frontier[frontier[:, 0] < n_acting]) and depth < base.horizon:
        depth += 1
        expanded.append(acting)
        new = []
        for after in _successors(base, acting):
            new.append(found.add(after))
            if len(found) > limit:
                raise NotEnumerable(
                    f"{name} has at least {len(found)} states with its last {length + 1} observations, more than the "
                    f"{limit} that its tables may have: use fewer frames, or evaluate it by sampling"
                )
        frontier = np.concatenate(new)
        levels.append(frontier)
    rows = np.concatenate(levels)
    rows = rows[np.argsort(rows[:, 0], kind="stable")]
    keys = make_index(rows)
    count = int((rows[:, 0] < n_acting).sum())
    has_successors = np.zeros(count, bool)
    has_successors[keys.lookup(np.concatenate(expanded))] = True
    shape = (count, *base.successor.shape[1:])
    successor = np.broadcast_to(np.arange(count)[:, None, None], shape).copy()
    following = [keys.lookup(piece) for piece in _successors(base, rows[:count][has_successors])]
    successor[has_successors] = np.concatenate(following).reshape(-1, *shape[1:])
    return _Product(rows[:, 0], rows[:, 1:], count, successor, keys.lookup(starts), has_successors)


def _successors(base: Tables, rows: np.ndarray) -> Iterator[np.ndarray]:
    """(n, K) rows of states and histories -> (n A Z, K), those that follow each, in pieces."""
    size = max(CHUNK // (math.prod(base.successor.shape[1:]) * rows.shape[1]), 1)
    for piece in (rows[i : i + size] for i in range(0, len(rows), size)):
        after = base.successor[piece[:, 0]].reshape(len(piece), -1)
        history = np.column_stack((piece[:, 2:], base.observation[piece[:, 0]]))
        yield np.column_stack((after.ravel(), np.repeat(history, after.shape[1], 0)))


def _of_steps(table: np.ndarray, found: _Product) -> np.ndarray:
    """(S_A, A, Z) of the world -> that of the product; 0 where a state has no successors."""
    values = table[found.row[: found.n_acting]]
    values[~found.has_successors] = 0
    return values


def _array_space(space: Space) -> Box | MultiBinary:
    """The space of an observation as an array; raises ValueError if it cannot be one."""
    if isinstance(space, Box | MultiBinary) and space.shape:
        return space
    if isinstance(space, Discrete):
        return MultiBinary(int(space.n))
    if isinstance(space, MultiDiscrete) and space.nvec.ndim == 1:
        return MultiBinary(int(space.nvec.sum()))
    shown = " ".join(str(space).split())[:200]
    raise ValueError(
        f"memory frames(K) does not support the observation space {shown}; use Box, Discrete, MultiDiscrete or "
        "MultiBinary"
    )


def _array(obs: np.ndarray, space: Space, flags: bool = False) -> np.ndarray:
    """Observations (N, *obs), or flags of them, as arrays: one-hot vectors for Discrete and MultiDiscrete."""
    if not isinstance(space, Discrete | MultiDiscrete):
        return np.asarray(obs)
    sizes, starts = (np.atleast_1d(values) for values in (getattr(space, "nvec", getattr(space, "n", 0)), space.start))
    columns = np.asarray(obs).reshape(len(obs), len(sizes))
    if flags:
        return np.repeat(columns, sizes, 1)
    one_hot = [np.arange(size) == (column - start)[:, None] for size, start, column in zip(sizes, starts, columns.T)]  # noqa: B905
    return np.concatenate(one_hot, 1).astype(np.int8)


def _channel_axis(shape: tuple[int, ...]) -> int:
    """The axis of an observation along which frames are joined: the channels of an image, else the first."""
    return CHANNELS_LAST if len(shape) == 3 and int(np.argmin(shape)) == CHANNELS_LAST else 0
