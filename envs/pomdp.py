"""Stepping, seeding, restarts, the time limit and rendering are the same for every world, and done here once.

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
from envs import snapshot as kept
from envs.dynamics import Dynamics, FunctionDynamics, TableDynamics
from envs.tables import NotEnumerable, Tables
from envs.world import World

NOT_DYNAMICS = ("num_envs", "render_mode")
STARTS_AT_ONCE = 8  # for each copy
WARM_UP = 500_000  # steps, over all copies, after which making tables has paid


class POMDP(World, VectorEnv):
    """N copies of a world. A subclass gives the functions of `World` and calls `super().__init__` last."""

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
        self._n_actions = np.array(n_actions, np.uint64)  # of the type that actions are compared in
        self.observation_space = batch_space(observation_space, self.num_envs)
        self.action_space = batch_space(self.single_action_space, self.num_envs)
        self.dynamics: Dynamics = FunctionDynamics(self)
        self._until_lookup = WARM_UP
        self._state: np.ndarray | None = None  # (N, ...) as the dynamics keep it
        self._starts: np.ndarray = np.zeros(0)  # starts that were drawn and not yet used
        self._begin_clock(np.zeros(self.num_envs, np.int64))

    @property
    def parameters(self) -> dict[str, Any]:
        """The constructor's keywords that shape the dynamics; a world keeps each under its own name."""
        names = inspect.signature(type(self)).parameters
        return {name: getattr(self, name) for name in names if name not in NOT_DYNAMICS}

    def tabulate(self) -> Tables:
        """This world written out, made once for each set of parameters; raises NotEnumerable."""
        return enumeration.cached_tables(type(self), **self.parameters)  # type: ignore[arg-type]  # a class is hashable

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Starts every copy afresh, at `options["state"]`, (N, K) int, where that is given."""
        super().reset(seed=seed)
        given = (options or {}).get("state")
        self._state = self.dynamics.start(self.num_envs) if given is None else self.dynamics.encode(given)
        self._starts = self._state[:0]
        self._begin_clock(np.zeros(self.num_envs, np.int64))
        info = {"watched": self.watched(self.dynamics.decode(self._state))}  # evaluation stratifies by it
        return self.dynamics.observe(self._state), info

    def step(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Moves every copy; one that ends restarts at once, and `info` tells of the state it reached."""
        if self._state is None:
            raise ResetNeeded(f"{type(self).__name__}: call reset() before step()")
        if self._until_lookup > 0:
            self._warm_up()
        reached = self.dynamics.step(self._state, self._legal(actions))
        self._state, terminated = reached.state, reached.terminated
        self._now += 1
        truncated = (self._due <= self._now) > terminated
        info = {"overseer_obs": reached.overseer_obs, "true_reward": reached.true_reward, "outcome": reached.outcome}
        done = terminated | truncated
        ended = done.nonzero()[0]
        if len(ended):
            self._restart(done, ended, info)
        return self.dynamics.observe(self._state), reached.reward, terminated, truncated, info

    def _restart(self, done: np.ndarray, ended: np.ndarray, info: dict[str, Any]) -> None:
        """Restarts the copies that have ended, and adds to `info` what was last seen and told of them."""
        last = self.dynamics.observe(self._state[ended])  # type: ignore[index]  # step() has set it
        info["final_info"] = info | {"_overseer_obs": done, "_true_reward": done, "_outcome": done}
        info["final_obs"] = np.empty(self.num_envs, object)  # None where no episode ended
        info["final_obs"][ended] = np.fromiter(last, object, len(ended))
        info["_final_obs"] = info["_final_info"] = done
        self._state[ended] = self._next_starts(len(ended))  # type: ignore[index]
        self._due[ended] = self._now + self.max_episode_steps

    def _next_starts(self, n: int) -> np.ndarray:
        """n starts, drawn many at a time."""
        if len(self._starts) < n:
            self._starts = self.dynamics.start(STARTS_AT_ONCE * self.num_envs)
        taken, self._starts = self._starts[:n], self._starts[n:]
        return taken

    def _begin_clock(self, elapsed: np.ndarray) -> None:
        """Each copy has made `elapsed` steps, (N,) int, of its episode."""
        self._now = 0
        self._due = self.max_episode_steps - elapsed  # (N,) int: when its time is up

    def _warm_up(self) -> None:
        """Moves by table look-up once enough steps were made for tables to pay; the draws are the same."""
        self._until_lookup -= self.num_envs
        if self._until_lookup <= 0:
            with contextlib.suppress(NotEnumerable):
                self.use_tables()

    def use_tables(self) -> None:
        """Moves by table look-up from now on; raises NotEnumerable."""
        lookup = TableDynamics(self, enumeration.compile_world(self))
        self._until_lookup = 0
        if self._state is not None:
            self._state = lookup.encode(self.dynamics.decode(self._state))
            self._starts = lookup.encode(self.dynamics.decode(self._starts))
        self.dynamics = lookup

    def snapshot(self) -> kept.SnapshotState:
        """Where every copy is, and what chance will bring; to be given to `restore` of a world made alike."""
        if self._state is None:
            raise ResetNeeded(f"{type(self).__name__}: call reset() before snapshot()")
        return {
            "state": self.dynamics.decode(self._state),
            "starts": self.dynamics.decode(self._starts),
            "elapsed": self._now + self.max_episode_steps - self._due,
            "until_lookup": self._until_lookup,
            "generator": self.np_random.bit_generator.state,
        }

    def restore(self, state: kept.SnapshotState) -> None:
        """Goes on where `snapshot` was taken, with the same draws."""
        self.np_random.bit_generator.state = state["generator"]
        self._begin_clock(state["elapsed"])
        self._until_lookup = state["until_lookup"]
        self._state = self.dynamics.encode(state["state"])
        self._starts = self.dynamics.encode(state["starts"])
        if self._until_lookup <= 0:
            with contextlib.suppress(NotEnumerable):
                self.use_tables()

    def _legal(self, actions: np.ndarray) -> np.ndarray:
        """(N,) int64, the same actions; raises ValueError where they are none."""
        actions = np.asarray(actions)
        if actions.shape != (self.num_envs,) or actions.dtype.kind not in "iu":
            raise ValueError(
                f"actions must be {self.num_envs} integers, found {actions.dtype} of shape {actions.shape}"
            )
        legal = actions.astype(np.int64, copy=False)
        if np.count_nonzero(legal.view(np.uint64) >= self._n_actions):  # a negative number becomes a large one
            raise ValueError(f"actions must be 0 to {self._n_actions - 1}, found {actions.min()} to {actions.max()}")
        return legal

    def render(self) -> tuple[Any, ...] | None:
        """One frame a copy: text (ansi) or an (H, W, 3) uint8 picture (rgb_array)."""
        if self.render_mode is None or self._state is None:
            return None
        frame = drawing.FRAMES[self.render_mode]
        return tuple(frame(self.picture(state)) for state in self.dynamics.decode(self._state))
