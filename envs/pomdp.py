"""Base class of all worlds: stepping, seeding, restarts, time limit, rendering and snapshots.

Letters: N copies, K state variables, obs the shape of one observation.
"""

import functools
import inspect
import logging
from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
from gymnasium import Space
from gymnasium.error import ResetNeeded
from gymnasium.spaces import Discrete
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from envs import arguments, drawing, enumeration, validation
from envs.dynamics import Dynamics, FunctionDynamics, StepResult, TableDynamics
from envs.snapshot import SnapshotState
from envs.tables import NotEnumerable, Tables
from envs.world import World

log = logging.getLogger(__name__)

RESET_OPTIONS = ("state", "reset_mask")
NOT_DYNAMICS = ("num_envs", "render_mode")
STARTS_PER_COPY = 8  # start states drawn at a time
NEVER = 2**62  # steps
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
        validation.check_implemented(self)
        validation.check_bad_acts(self)
        self.single_observation_space = observation_space
        self.single_action_space = Discrete(n_actions)
        self._n_actions = np.array(n_actions, np.uint64)  # the type in which actions are compared
        self.observation_space = batch_space(observation_space, self.num_envs)
        self.action_space = batch_space(self.single_action_space, self.num_envs)
        self.dynamics: Dynamics = FunctionDynamics(self)
        self._until_lookup = WARM_UP  # steps
        self._state: np.ndarray | None = None  # (N, ...) in the form of the dynamics
        self._unused_starts: np.ndarray = np.zeros(0)  # start states drawn but not yet used
        self.expose_features = False  # whether the info of a step has `state_features` of the state reached
        self.held: np.ndarray | None = None  # (N,) bool: the copies that the next step leaves in their state
        self._now, self._due = 0, np.full(self.num_envs, self.max_episode_steps)  # see _set_elapsed

    @property
    def parameters(self) -> dict[str, Any]:
        """The constructor's keywords that determine the dynamics, each an attribute of the same name."""
        names = inspect.signature(type(self)).parameters
        return {name: getattr(self, name) for name in names if name not in NOT_DYNAMICS}

    def tabulate(self) -> Tables:
        """The tables of this world, cached by its parameters; raises NotEnumerable."""
        parameters = self.parameters
        if all(isinstance(value, Hashable) for value in parameters.values()):
            return enumeration.cached_tables(type(self), **parameters)  # type: ignore[arg-type]  # a class is hashable
        return enumeration.make_tables(type(self)(1, **parameters))

    @functools.cached_property
    def _start_distribution(self) -> tuple[np.ndarray, np.ndarray]:
        with validation.prefixed(type(self).__name__):
            return validation.checked_starts(self)

    @functools.cached_property
    def overseer_codebook(self) -> np.ndarray:
        """(L, F) float: the features of each overseer observation; empty without features or without tables."""
        try:
            codebook = self.tabulate().overseer_codebook if self.overseer_features else None
        except NotEnumerable:
            codebook = None
        return super().overseer_codebook if codebook is None else codebook

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Restarts the copies.

        Args:
            seed: seeds the generator that all copies share. N integers are the entropy of that one generator, so each
                of them affects every copy.
            options: "state", (N, K) int, the states in which the copies start; "reset_mask", (N,) bool, the copies
                that restart, by default all. The others continue their episodes.

        Returns:
            The observations, (N, *obs), and an info with `watched`, (N,) bool. With a reset_mask, `_watched` marks
            the copies that restarted, and `watched` is False elsewhere.

        Raises:
            ValueError: an option is unknown or invalid.
            ResetNeeded: reset_mask is given before the first reset.
        """
        options = options or {}
        for name in options:
            arguments.choice("reset option", name, RESET_OPTIONS)
        mask = arguments.reset_mask(options["reset_mask"], self.num_envs) if "reset_mask" in options else None
        if mask is not None and self._state is None:
            raise ResetNeeded(f"{type(self).__name__}: call reset() without reset_mask first")
        states = self.checked_states(options["state"]) if options.get("state") is not None else None
        self._seed_generator(arguments.seed(seed, self.num_envs))
        if states is not None:
            self._use_functions_unless_tabulated(states)
        if mask is not None:
            return self._reset_copies(mask, states)
        self._state = self.dynamics.start(self.num_envs) if states is None else self.dynamics.encode(states)
        self._unused_starts = self._state[:0]
        self._set_elapsed(np.zeros(self.num_envs, np.int64))
        info = {"watched": self.watched(self.dynamics.decode(self._state))}  # evaluation stratifies by this
        return self.dynamics.observe(self._state), info

    def _seed_generator(self, seed: int | list[int] | None) -> None:
        if isinstance(seed, list):
            self.np_random = np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed)))
        else:
            super().reset(seed=seed)
        if seed is not None and self._state is not None:
            self._unused_starts = self._state[:0]

    def _reset_copies(self, mask: np.ndarray, states: np.ndarray | None) -> tuple[np.ndarray, dict[str, Any]]:
        """Restarts the marked copies, (N,) bool, in their rows of the states, (N, K), if given."""
        assert self._state is not None  # reset() has checked
        restarted = self._state.copy()
        count = int(mask.sum())
        restarted[mask] = self._next_starts(count) if states is None else self.dynamics.encode(states[mask])
        self._state = restarted
        self._due = np.where(mask, self._now + self.max_episode_steps, self._due)
        info = {"watched": self.watched(self.dynamics.decode(self._state)) & mask, "_watched": mask.copy()}
        return self.dynamics.observe(self._state), info

    def checked_states(self, states: Any) -> np.ndarray:
        """States to start in, (N, K); raises ValueError if they have another shape or type, or are terminal."""
        states = np.asarray(states)
        known = self._known_states()
        shape = (self.num_envs, *(states.shape[1:] if known is None else known.shape[1:]))
        if states.ndim != 2 or states.shape != shape:
            raise ValueError(
                f"option state must have shape {shape if known is not None else '(N, K)'}, found {states.shape}"
            )
        if states.dtype.kind not in ("iub" if known is not None and known.dtype.kind in "iub" else "iubf"):
            raise ValueError(f"option state must be integers, found {states.dtype}")
        ended = np.flatnonzero(self.terminal(states))
        if len(ended):
            raise ValueError(f"option state has the terminal state {states[ended[0]].tolist()}: give others")
        return states

    def _known_states(self) -> np.ndarray | None:
        """Any states, (n, K), or None before the first reset of a world without `starts`."""
        if self._state is not None:
            return self.dynamics.decode(self._state)
        try:
            return self._start_distribution[0]
        except NotEnumerable:
            return None

    def _use_functions_unless_tabulated(self, states: np.ndarray) -> None:
        """Steps by functions from now on if the tables may lack a state that is reached from these, (N, K)."""
        if isinstance(self.dynamics, TableDynamics) and not self.dynamics.covers(states):
            if self._state is not None:
                self._state = self.dynamics.decode(self._state)
                self._unused_starts = self.dynamics.decode(self._unused_starts)
            self.dynamics, self._until_lookup = FunctionDynamics(self), NEVER

    def step(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Steps every copy; one whose episode ends restarts in the same step.

        `info` describes the state that was reached, before any restart.
        """
        if self._state is None:
            raise ResetNeeded(f"{type(self).__name__}: call reset() before step()")
        if self._until_lookup > 0:
            self._warm_up()
        result = self.dynamics.step(self._state, self._checked_actions(actions))
        if self.held is not None:
            result, self.held = self._hold(result, self.held), None
        self._state, terminated = result.state, result.terminated
        self._now += 1
        truncated = (self._due <= self._now) > terminated
        info = {"overseer_obs": result.overseer_obs, "true_reward": result.true_reward, "outcome": result.outcome}
        if result.bad_act is not None:
            info["bad_act"] = result.bad_act
        if self.expose_features:
            info["features"] = np.array(self.state_features(self.dynamics.decode(result.state)), np.float64)
        done = terminated | truncated
        ended = done.nonzero()[0]
        if len(ended):
            self._restart(done, ended, info)
        return self.dynamics.observe(self._state), result.reward, terminated, truncated, info

    def _hold(self, result: StepResult, held: np.ndarray) -> StepResult:
        """The result of a step in which the copies marked by held, (N,) bool, stay in their state without reward."""
        assert self._state is not None  # step() has checked
        result.state[held] = self._state[held]
        return result._replace(
            reward=np.where(held, 0.0, result.reward),
            true_reward=np.where(held, 0.0, result.true_reward),
            terminated=result.terminated & ~held,
            outcome=self.outcome(self.dynamics.decode(result.state)),
            bad_act=None if result.bad_act is None else np.where(held, 0, result.bad_act),
        )

    def _restart(self, done: np.ndarray, ended: np.ndarray, info: dict[str, Any]) -> None:
        """Restarts the copies whose episode ended, and adds their final observations and info to `info`."""
        last = self.dynamics.observe(self._state[ended])  # type: ignore[index]  # step() has set it
        info["final_info"] = info | {f"_{name}": done for name in info}
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
            self._use_tables_if_any()

    def _use_tables_if_any(self) -> None:
        try:
            self.use_tables()
        except NotEnumerable as reason:
            log.info("%s steps by its functions: %s", type(self).__name__, reason)

    def use_tables(self) -> None:
        """Steps by table look-up from now on; raises NotEnumerable."""
        lookup = TableDynamics(self, enumeration.compile_world(self))
        if self._state is not None and not lookup.covers(self.dynamics.decode(self._state)):
            raise NotEnumerable(f"{type(self).__name__} is in a state that its tables may lack: reset it first")
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
        self._use_functions_unless_tabulated(state["state"])
        self._state = self.dynamics.encode(state["state"])
        self._unused_starts = self.dynamics.encode(state["starts"])
        if self._until_lookup <= 0:
            self._use_tables_if_any()

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
