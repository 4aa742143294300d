"""A partially observed world is seven batched functions; stepping, seeding, autoreset and time limits follow.

The functions take N states at once and are pure, so the same lines of a world are sampled here, enumerated
into tables, and evaluated exactly. Agent and overseer each see a function of the state, never the state.

Letters: N copies, K state variables, A actions, obs the shape of one observation.
"""

import contextlib
import functools
import inspect
import math
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import numpy as np
from gymnasium import Space
from gymnasium.error import ResetNeeded
from gymnasium.spaces import Discrete
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from envs import arguments, compiled, drawing
from envs.dynamics import Dynamics, Functions, Lookup, sample

Array = np.ndarray
NOT_DYNAMICS = ("num_envs", "render_mode")
STARTS_AT_ONCE = 8  # for each copy
WARM_UP = 500_000  # steps, over all copies, after which making tables has paid


class POMDP(VectorEnv):
    """N copies of a world. A subclass gives the functions below and calls `super().__init__` last."""

    metadata: dict[str, Any] = {  # noqa: RUF012  (Gymnasium's own declaration)
        "render_modes": ["ansi", "rgb_array"],
        "render_fps": 4,
        "autoreset_mode": AutoresetMode.SAME_STEP,
    }
    gamma: float = 1.0
    oversight_prob: float = math.nan  # probability that an ending is judged; nan: there is no such thing
    overseer_labels: tuple[str, ...] = ()  # the name of each overseer observation
    judgement: Array = np.zeros(0)  # (L,) float: the overseer's verdict on each; nan where it cannot tell
    flags: Array  # (*obs,) bool: entries of an observation that tell the agent what the overseer will see
    outcomes: tuple[str, ...] = ("end",)
    action_names: tuple[str, ...] = ()
    action_arrows: ClassVar[tuple[tuple[int, int], ...] | None] = None  # (drow, dcol) of each action
    noise: Mapping[str, tuple[float, ...]] = {}  # what chance draws at each step, by name

    # (N, K), (N,) -> (N, K); each named noise is one more keyword argument, (N,) int
    transition: Callable[..., Array]

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
        self.render_mode = (
            None if render_mode is None else arguments.choice("render_mode", render_mode, modes)
        )
        self.single_observation_space = observation_space
        self.single_action_space = Discrete(n_actions)
        self.observation_space = batch_space(observation_space, self.num_envs)
        self.action_space = batch_space(self.single_action_space, self.num_envs)
        self.dynamics: Dynamics = Functions(self)
        self._until_lookup = WARM_UP
        self._state: Array | None = None  # (N, ...) as the dynamics keep it
        self._starts: Array = np.zeros(0)  # starts that were drawn and not yet used
        self._elapsed = np.zeros(self.num_envs, np.int64)

    # The world.
    def initial(self, n: int) -> Array:
        """Draws n states of the start distribution, (n, K) int; the one function that is not pure."""
        states, probabilities = self._start_law
        return states[sample(self.np_random, probabilities, n)]

    @functools.cached_property
    def _start_law(self) -> tuple[Array, Array]:
        return self.starts()

    def starts(self) -> tuple[Array, Array]:
        """The start distribution written out: distinct states (S0, K) and their probabilities (S0,)."""
        raise NotImplementedError(
            f"{type(self).__name__} does not write out its start distribution: give starts()"
        )

    def terminal(self, state: Array) -> Array:
        """(N, K) -> (N,) bool."""
        raise NotImplementedError

    def reward(self, state: Array, action: Array, next_state: Array) -> Array:
        """The proxy that everyone sees, (N,) float."""
        raise NotImplementedError

    def true_reward(self, state: Array, action: Array, next_state: Array) -> Array:
        """What is really wanted, (N,) float; read by evaluation and by oracles only."""
        raise NotImplementedError

    def observation(self, state: Array) -> Array:
        """(N, K) -> (N, *obs): states with equal rows are aliased for the agent."""
        raise NotImplementedError

    def overseer_observation(self, state: Array, action: Array, next_state: Array) -> Array:
        """(N,) int: steps with equal numbers are aliased for the overseer."""
        raise NotImplementedError

    # What may be told about it, with defaults.
    def watched(self, state: Array) -> Array:
        """(N, K) -> (N,) bool: something in this start state is under the overseer's eye."""
        return np.zeros(len(state), bool)

    def outcome(self, state: Array) -> Array:
        """(N, K) -> (N,) int: what an episode that ends in this state ended as, an index of `outcomes`."""
        return np.zeros(len(state), np.int64)

    def layout(self, state: Array) -> Array | None:
        """(K,) -> (H, W, K) int: the state with the agent in each cell, -1 where none is; None: no grid."""
        return None

    def picture(self, state: Array) -> drawing.Picture:
        """(K,) -> what a render shows."""
        return drawing.Picture.of_text(str(state.tolist()))

    @property
    def parameters(self) -> dict[str, Any]:
        """The constructor's keywords that shape the dynamics; a world keeps each under its own name."""
        names = inspect.signature(type(self)).parameters
        return {name: getattr(self, name) for name in names if name not in NOT_DYNAMICS}

    def tabulate(self) -> compiled.Tables:
        """This world written out, made once for each set of parameters; raises NotEnumerable."""
        return compiled.compiled(type(self), **self.parameters)  # type: ignore[arg-type]  # a class is hashable

    # Gymnasium's side.
    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Array, dict[str, Any]]:
        """Starts every copy afresh, at `options["state"]`, (N, K) int, where that is given."""
        super().reset(seed=seed)
        given = (options or {}).get("state")
        self._state = self.dynamics.start(self.num_envs) if given is None else self.dynamics.encode(given)
        self._starts = self._state[:0]
        self._elapsed = np.zeros(self.num_envs, np.int64)
        info = {"watched": self.watched(self.dynamics.decode(self._state))}  # evaluation stratifies by it
        return self.dynamics.observe(self._state), info

    def step(self, actions: Array) -> tuple[Array, Array, Array, Array, dict[str, Any]]:
        """Moves every copy; one that ends restarts at once, and `info` tells of the state it reached."""
        if self._state is None:
            raise ResetNeeded(f"{type(self).__name__}: call reset() before step()")
        self._warm_up()
        reached = self.dynamics.step(self._state, self._legal(actions))
        obs = self.dynamics.observe(reached.state)
        self._elapsed += 1
        truncated = (self._elapsed >= self.max_episode_steps) & ~reached.terminated
        info = {
            "overseer_obs": reached.overseer_obs,
            "true_reward": reached.true_reward,
            "outcome": reached.outcome,
            "reached": obs,
        }
        self._state = reached.state
        done = reached.terminated | truncated
        if done.any():
            obs = self._restart(done, obs, info)
        return obs, reached.reward, reached.terminated, truncated, info

    def _restart(self, done: Array, reached: Array, info: dict[str, Any]) -> Array:
        """Restarts the copies that are done; returns what is seen next, adds the final view to info."""
        ended = np.flatnonzero(done)
        info["final_info"] = {name: info[name] for name in ("overseer_obs", "true_reward", "outcome")}
        info["final_info"] |= {f"_{name}": done for name in ("overseer_obs", "true_reward", "outcome")}
        info["final_obs"] = np.full(self.num_envs, None, object)
        for i in ended:
            info["final_obs"][i] = reached[i]
        info["_final_obs"] = info["_final_info"] = done
        started = self._next_starts(len(ended))
        self._state[ended] = started  # type: ignore[index]  # step() has checked it
        self._elapsed[ended] = 0
        obs = reached.copy()
        obs[ended] = self.dynamics.observe(started)
        return obs

    def _next_starts(self, n: int) -> Array:
        """n starts, drawn many at a time."""
        if len(self._starts) < n:
            self._starts = self.dynamics.start(STARTS_AT_ONCE * self.num_envs)
        taken, self._starts = self._starts[:n], self._starts[n:]
        return taken

    def _warm_up(self) -> None:
        """Moves by table look-up once enough steps were made for tables to pay; the draws are the same."""
        before, self._until_lookup = self._until_lookup, self._until_lookup - self.num_envs
        if before > 0 >= self._until_lookup:
            with contextlib.suppress(compiled.NotEnumerable):
                self.use_tables()

    def use_tables(self) -> None:
        """Moves by table look-up from now on; raises NotEnumerable."""
        lookup = Lookup(self, compiled.compile_world(self))
        if self._state is not None:
            self._state = lookup.encode(self.dynamics.decode(self._state))
            self._starts = lookup.encode(self.dynamics.decode(self._starts))
        self.dynamics = lookup

    def _legal(self, actions: Array) -> Array:
        actions = np.asarray(actions)
        if actions.shape != (self.num_envs,) or actions.dtype.kind not in "iu":
            raise ValueError(
                f"actions must be {self.num_envs} integers, found {actions.dtype} of shape {actions.shape}"
            )
        n_actions = int(self.single_action_space.n)  # type: ignore[attr-defined]
        if actions.min() < 0 or actions.max() >= n_actions:
            raise ValueError(
                f"actions must be 0 to {n_actions - 1}, found {actions.min()} to {actions.max()}"
            )
        return actions

    def render(self) -> tuple[Any, ...] | None:
        """One frame a copy: text (ansi) or an (H, W, 3) uint8 picture (rgb_array)."""
        if self.render_mode is None or self._state is None:
            return None
        frame = drawing.FRAMES[self.render_mode]
        return tuple(frame(self.picture(state)) for state in self.dynamics.decode(self._state))
