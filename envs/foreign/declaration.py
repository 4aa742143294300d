"""An environment of a third party with an overseer: the functions of a step that make it up, and their checks.

Letters: N copies, L overseer observations, obs the shape of one observation.
"""

import os
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import gymnasium
import numpy as np
from gymnasium import Space
from gymnasium.spaces import Discrete

from envs.validation import CheckFailed, exception_text


class OverseenStep(NamedTuple):
    """A step of N copies, as the environment itself returns it."""

    obs: Any  # (N, *obs) before the step
    action: np.ndarray  # (N, *action)
    next_obs: Any  # (N, *obs) that the step reached, before any restart
    reward: np.ndarray  # (N,) float
    terminated: np.ndarray  # (N,) bool
    info: Mapping[str, Any]  # name -> (N, ...) of the step's info; empty in a world with tables


BATCHES = os.path.join("gymnasium", "vector", "utils", "space_utils.py")  # collects the observations of copies
View = Callable[[OverseenStep], np.ndarray]


@dataclass(frozen=True, eq=False)
class Overseen:
    """An environment with an overseer: the arguments of `overseen`."""

    id: str
    env_id: str
    overseer_view: View
    judgement: np.ndarray
    overseer_labels: tuple[str, ...]
    agent_view: Callable[[Any], Any] | None = None
    agent_space: Space | None = None
    flags: Any = None
    true_reward: View | None = None
    proxy_reward: View | None = None
    outcome: View | None = None
    outcomes: tuple[str, ...] = ("end",)
    bad_act: View | None = None
    bad_acts: tuple[str, ...] = ()
    watched: Callable[[Any], np.ndarray] | None = None
    action_names: tuple[str, ...] = ()
    gamma: float = 1.0
    max_episode_steps: int | None = None
    arguments: Mapping[str, Any] = field(default_factory=dict)

    def make_single(self, render_mode: str | None = None, **given: Any) -> gymnasium.Env:
        """Makes one copy of the environment inside, with its own wrappers and time limit.

        Raises:
            ValueError: `action_names` do not fit its actions.
        """
        modes = {} if render_mode is None else {"render_mode": render_mode}
        env = gymnasium.make(self.env_id, **{**self.arguments, **modes, **given})
        names, space = self.action_names, env.action_space
        if names and not (isinstance(space, Discrete) and space.n == len(names)):
            env.close()
            raise CheckFailed(f"{self.id}: action_names has {len(names)} names for {space}: {_names_wanted(space)}")
        return env

    def reward_of(self, step: OverseenStep) -> np.ndarray:
        """The proxy reward, (N,) float."""
        return self._column("proxy_reward", self.proxy_reward, step)

    def true_reward_of(self, step: OverseenStep) -> np.ndarray:
        """The true reward, (N,) float."""
        return self._column("true_reward", self.true_reward, step)

    def outcome_of(self, step: OverseenStep) -> np.ndarray:
        """The outcome of an episode that the step terminates, (N,) int; 0 where it terminates none."""
        if self.outcome is None:
            return np.zeros(len(step.reward), np.int64)
        values = self._call("outcome", self.outcome, step, len(step.reward))
        found = self._checked("outcome", values, len(step.reward), "iu", len(self.outcomes))
        return np.where(step.terminated, found, 0)

    def bad_act_of(self, step: OverseenStep) -> np.ndarray:
        """The kind of bad act of the step, (N,) int: 0 for none, i for `bad_acts[i - 1]`."""
        if self.bad_act is not None:
            values = self._call("bad_act", self.bad_act, step, len(step.reward))
            return self._checked("bad_act", values, len(step.reward), "iu", len(self.bad_acts) + 1)
        kinds = np.array([self.bad_acts.index(name) + 1 if name in self.bad_acts else 0 for name in self.outcomes])
        return kinds[self.outcome_of(step)] * step.terminated

    def overseer_obs_of(self, step: OverseenStep) -> np.ndarray:
        """The overseer's observation, (N,) int."""
        seen = self._call("overseer_view", self.overseer_view, step, len(step.reward))
        return self._checked("overseer_view", seen, len(step.reward), "iu", len(self.judgement))

    def watched_at(self, obs: Any, n: int) -> np.ndarray:
        """Whether the overseer can see something in an episode that starts with these observations, (N,) bool."""
        if self.watched is None:
            return np.zeros(n, bool)
        return self._checked("watched", self._call("watched", self.watched, obs, n), n, "b")

    def view_of(self, obs: Any, n: int) -> Any:
        """What `agent_view` makes of n observations: (n, *obs'), or a dictionary or tuple of such arrays.

        Raises:
            ValueError: there is no row for each observation.
        """
        assert self.agent_view is not None  # callers have checked
        viewed = self._call("agent_view", self.agent_view, obs, n)
        if isinstance(viewed, tuple):
            return viewed
        parts = {f"[{key!r}]": part for key, part in viewed.items()} if isinstance(viewed, dict) else {"": viewed}
        for key, part in parts.items():
            shape = np.shape(part)
            if shape[:1] != (n,):
                raise CheckFailed(
                    f"{self.id}: agent_view(obs){key} has shape {shape} for a batch of {n} observations: "
                    "keep the first axis, one row for each"
                )
        return viewed

    def checked_view(self, viewed: np.ndarray, space: Space) -> np.ndarray:
        """Returns what agents observe, (n, *obs').

        Raises:
            ValueError: it has another shape than the space, or a number is not finite.
        """
        if viewed.shape[1:] != space.shape:
            raise CheckFailed(
                f"{self.id}: agent_view returns observations of shape {viewed.shape[1:]}, but their space has shape "
                f"{space.shape}: make them equal"
            )
        if viewed.dtype.kind == "f":
            self._require_finite("agent_view", viewed, "observations")
        return viewed

    @contextmanager
    def named(self, method: str) -> Iterator[None]:
        """Adds the environment and its method to a ValueError that Gymnasium raises when it collects observations."""
        try:
            yield
        except ValueError as error:
            if not any(BATCHES in frame.filename for frame in traceback.extract_tb(error.__traceback__)):
                raise
            raise CheckFailed(
                f"{self.id}: {method} of {self.env_id} returns an observation that does not fit its "
                f"observation_space ({' '.join(str(error).split())}): return one of its shape"
            ) from error

    def _column(self, name: str, function: View | None, step: OverseenStep) -> np.ndarray:
        """(N,) float: a reward of the step; the environment's own without a function."""
        if function is None:
            name, values = f"step() of {self.env_id}", np.array(step.reward, np.float64)
        else:
            found = self._call(name, function, step, len(step.reward))
            values = self._checked(name, found, len(step.reward), "fiub").astype(np.float64)
        self._require_finite(name, values, "rewards")
        return values

    def _call(self, name: str, function: Callable[[Any], Any], argument: Any, n: int) -> Any:
        """What a function of the user returns.

        Raises:
            ValueError: it raises an exception, which is the cause.
        """
        try:
            return function(argument)
        except Exception as error:
            batch = f"a batch of {n} {'steps' if isinstance(argument, OverseenStep) else 'observations'}"
            if isinstance(error, KeyError) and isinstance(argument, OverseenStep):
                batch += f", whose info has {', '.join(argument.info) or 'no entries'}"
            raise CheckFailed(f"{self.id}: {name} raises {exception_text(error)}; it gets {batch}") from error

    def _require_finite(self, name: str, values: np.ndarray, kind: str) -> None:
        """Raises ValueError if a number, of an array whose first axis is that of copies, is nan or infinite."""
        finite = np.isfinite(values)
        if not finite.all():
            rows = ~finite.reshape(len(values), -1).all(1)
            first = values[~finite].flat[0]
            raise CheckFailed(
                f"{self.id}: {name} returns a number that is not finite ({first} in {rows.sum()} of {len(rows)} "
                f"{'steps' if kind == 'rewards' else kind}): return finite {kind}"
            )

    def _checked(self, name: str, found: Any, n: int, kinds: str, count: int | None = None) -> np.ndarray:
        """(n,): what a function of the user returned.

        Raises:
            ValueError: it has another shape or type, or is outside 0 to count - 1.
        """
        try:
            values = np.asarray(found)
        except ValueError as error:
            raise CheckFailed(f"{self.id}: {name} returns rows of unequal length: return an array of {n}") from error
        if kinds == "iu" and values.dtype == bool:
            values = values.astype(np.int64)
        wanted = {"iu": "integers", "b": "booleans"}.get(kinds, "numbers")
        if values.shape != (n,) or values.dtype.kind not in kinds:
            raise CheckFailed(
                f"{self.id}: {name} returns {values.dtype} of shape {values.shape}: return {n} {wanted}, one a copy"
            )
        if count is not None and n and not (values.min() >= 0 and values.max() < count):
            raise CheckFailed(
                f"{self.id}: {name} returns {values.min()} to {values.max()}: return integers from 0 to {count - 1}"
            )
        return values


def _names_wanted(space: Space) -> str:
    """What to do about action names that do not fit a space."""
    if isinstance(space, Discrete):
        return f"give {space.n}, one for each action"
    return "leave them out, only Discrete actions have names"
