"""Base class of all worlds: stepping, seeding, restarts, time limit, rendering and snapshots.

Letters: N copies, K state variables, obs the shape of one observation.
"""

import contextlib
import inspect
from typing import Any

import numpy as np
from gymnasium import Space
from gymnasium.error import ResetNeeded
from gymnasium.spaces import Discrete
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from envs import arguments, drawing, enumeration
from envs.dynamics import Dynamics, FunctionDynamics, TableDynamics
from envs.snapshot import SnapshotState
from envs.tables import NotEnumerable, Tables
from envs.world import World

NOT_DYNAMICS = ("num_envs", "render_mode")
STARTS_PER_COPY = 8  # start states drawn at a time
WARM_UP = 500_000  # steps of all copies together after which tables are made


class POMDP(World, VectorEnv):
    """N copies of a world. A subclass implements the functions of `World` and calls `super().__init__` last."""

    metadata: dict[str, Any] = {  # noqa: RUF012  (Gymnasium's own declaration)
        "render_modes": ["ansi", "rgb_array"],
        "render_fps": 4,
        "autoreset_mode": AutoresetMode.SAME_STEP,
    }

    def __init__(
        self,
        num_envs: int,
        max_episode_steps: int,
        render_mode: str | None,
        observation_space: Space,
        n_actions: int,
    ) -> None:
        self.num_envs = arguments.at_least("num_envs", num_envs, 1)
        self.max_episode_steps = arguments.at_least("max_episode_steps", max_episode_steps, 1)
        modes = self.metadata["render_modes"]
        self.render_mode = None if render_mode is None else arguments.choice("render_mode", render_mode, modes)
        self.single_observation_space = observation_space
        self.single_action_space = Discrete(n_actions)
        self._n_actions = np.array(n_actions, np.uint64)  # the type in which actions are compared
        self.observation_space = batch_space(observation_space, self.num_envs)
        self.action_space = batch_space(self.single_action_space, self.num_envs)
        self.dynamics: Dynamics = FunctionDynamics(self)
        self._until_lookup = WARM_UP
        self._state: np.ndarray | None = None  # (N, ...) in the form of the dynamics
        self._unused_starts: np.ndarray = np.zeros(0)  # start states drawn but not yet used
        self._set_elapsed(np.zeros(self.num_envs, np.int64))

    @property
    def parameters(self) -> dict[str, Any]:
        """The constructor's keywords that determine the dynamics, each an attribute of the same name."""
        names = inspect.signature(type(self)).parameters
        return {name: getattr(self, name) for name in names if name not in NOT_DYNAMICS}

    def tabulate(self) -> Tables:
        """The tables of this world, cached by its parameters; raises NotEnumerable."""
        return enumeration.cached_tables(type(self), **self.parameters)  # type: ignore[arg-type]  # a class is hashable

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Restarts every copy, in `options["state"]`, (N, K) int, if given."""
        super().reset(seed=seed)
        states = (options or {}).get("state")
        self._state = self.dynamics.start(self.num_envs) if states is None else self.dynamics.encode(states)
        self._unused_starts = self._state[:0]
        self._set_elapsed(np.zeros(self.num_envs, np.int64))
        info = {"watched": self.watched(self.dynamics.decode(self._state))}  # evaluation stratifies by this
        return self.dynamics.observe(self._state), info

    def step(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Steps every copy; one whose episode ends restarts in the same step.

        `info` describes the state that was reached, before any restart.
        """
        if self._state is None:
            raise ResetNeeded(f"{type(self).__name__}: call reset() before step()")
        if self._until_lookup > 0:
            self._warm_up()
        result = self.dynamics.step(self._state, self._checked_actions(actions))
        self._state, terminated = result.state, result.terminated
        self._now += 1
        truncated = (self._due <= self._now) > terminated
        info = {"overseer_obs": result.overseer_obs, "true_reward": result.true_reward, "outcome": result.outcome}
        done = terminated | truncated
        ended = done.nonzero()[0]
        if len(ended):
            self._restart(done, ended, info)
        return self.dynamics.observe(self._state), result.reward, terminated, truncated, info

    def _restart(self, done: np.ndarray, ended: np.ndarray, info: dict[str, Any]) -> None:
        """Restarts the copies whose episode ended, and adds their final observations and info to `info`."""
        last = self.dynamics.observe(self._state[ended])  # type: ignore[index]  # step() has set it
        info["final_info"] = info | {"_overseer_obs": done, "_true_reward": done, "_outcome": done}
        info["final_obs"] = np.empty(self.num_envs, object)  # None where no episode ended
        info["final_obs"][ended] = np.fromiter(last, object, len(ended))
        info["_final_obs"] = info["_final_info"] = done
        self._state[ended] = self._next_starts(len(ended))  # type: ignore[index]
        self._due[ended] = self._now + self.max_episode_steps

    def _next_starts(self, n: int) -> np.ndarray:
        """n start states, taken from a buffer."""
        if len(self._unused_starts) < n:
            self._unused_starts = self.dynamics.start(STARTS_PER_COPY * self.num_envs)
        starts, self._unused_starts = self._unused_starts[:n], self._unused_starts[n:]
        return starts

    def _set_elapsed(self, elapsed: np.ndarray) -> None:
        """Sets the number of steps that each copy has made in its episode, (N,) int."""
        self._now = 0
        self._due = self.max_episode_steps - elapsed  # (N,) int: the value of _now at the time limit

    def _warm_up(self) -> None:
        """Switches to table look-up after `WARM_UP` steps, when making tables pays; the trajectory does not change."""
        self._until_lookup -= self.num_envs
        if self._until_lookup <= 0:
            with contextlib.suppress(NotEnumerable):
                self.use_tables()

    def use_tables(self) -> None:
        """Steps by table look-up from now on; raises NotEnumerable."""
        lookup = TableDynamics(self, enumeration.compile_world(self))
        self._until_lookup = 0
        if self._state is not None:
            self._state = lookup.encode(self.dynamics.decode(self._state))
            self._unused_starts = lookup.encode(self.dynamics.decode(self._unused_starts))
        self.dynamics = lookup

    def snapshot(self) -> SnapshotState:
        """The state of every copy and of the generator, for `restore` of a world with the same arguments."""
        if self._state is None:
            raise ResetNeeded(f"{type(self).__name__}: call reset() before snapshot()")
        return {
            "state": self.dynamics.decode(self._state),
            "starts": self.dynamics.decode(self._unused_starts),
            "elapsed": self._now + self.max_episode_steps - self._due,
            "until_lookup": self._until_lookup,
            "generator": self.np_random.bit_generator.state,
        }

    def restore(self, state: SnapshotState) -> None:
        """Continues from a snapshot, with the same draws."""
        self.np_random.bit_generator.state = state["generator"]
        self._set_elapsed(state["elapsed"])
        self._until_lookup = state["until_lookup"]
        self._state = self.dynamics.encode(state["state"])
        self._unused_starts = self.dynamics.encode(state["starts"])
        if self._until_lookup <= 0:
            with contextlib.suppress(NotEnumerable):
                self.use_tables()

    def _checked_actions(self, actions: np.ndarray) -> np.ndarray:
        """The actions as (N,) int64; raises ValueError if they are not N actions."""
        actions = np.asarray(actions)
        if actions.shape != (self.num_envs,) or actions.dtype.kind not in "iu":
            raise ValueError(
                f"actions must be {self.num_envs} integers, found {actions.dtype} of shape {actions.shape}"
            )
        checked = actions.astype(np.int64, copy=False)
        if np.count_nonzero(checked.view(np.uint64) >= self._n_actions):  # negative numbers become large
            raise ValueError(f"actions must be 0 to {self._n_actions - 1}, found {actions.min()} to {actions.max()}")
        return checked

    def render(self) -> tuple[Any, ...] | None:
        """One frame per copy: text (ansi) or an (H, W, 3) uint8 image (rgb_array)."""
        if self.render_mode is None or self._state is None:
            return None
        frame = drawing.FRAMES[self.render_mode]
        return tuple(frame(self.picture(state)) for state in self.dynamics.decode(self._state))
