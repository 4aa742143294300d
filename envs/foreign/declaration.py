"""An environment of a third party with an overseer: the functions of a step that make it up, and their checks.

Letters: N copies, L overseer observations, obs the shape of one observation.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import gymnasium
import numpy as np
from gymnasium import Space


class OverseenStep(NamedTuple):
    """A step of N copies, as the environment itself returns it."""

    obs: Any  # (N, *obs) before the step
    action: np.ndarray  # (N, *action)
    next_obs: Any  # (N, *obs) that the step reached, before any restart
    reward: np.ndarray  # (N,) float
    terminated: np.ndarray  # (N,) bool
    info: Mapping[str, Any]  # name -> (N, ...) of the step's info; empty in a world with tables


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
        """Makes one copy of the environment inside, with its own wrappers and time limit."""
        modes = {} if render_mode is None else {"render_mode": render_mode}
        return gymnasium.make(self.env_id, **{**self.arguments, **modes, **given})

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
        found = self._checked("outcome", self.outcome(step), len(step.reward), "iu", len(self.outcomes))
        return np.where(step.terminated, found, 0)

    def bad_act_of(self, step: OverseenStep) -> np.ndarray:
        """The kind of bad act of the step, (N,) int: 0 for none, i for `bad_acts[i - 1]`."""
        if self.bad_act is not None:
            return self._checked("bad_act", self.bad_act(step), len(step.reward), "iu", len(self.bad_acts) + 1)
        kinds = np.array([self.bad_acts.index(name) + 1 if name in self.bad_acts else 0 for name in self.outcomes])
        return kinds[self.outcome_of(step)] * step.terminated

    def overseer_obs_of(self, step: OverseenStep) -> np.ndarray:
        """The overseer's observation, (N,) int."""
        seen = self.overseer_view(step)
        return self._checked("overseer_view", seen, len(step.reward), "iu", len(self.judgement))

    def watched_at(self, obs: Any, n: int) -> np.ndarray:
        """Whether the overseer can see something in an episode that starts with these observations, (N,) bool."""
        if self.watched is None:
            return np.zeros(n, bool)
        return self._checked("watched", self.watched(obs), n, "b")

    def _column(self, name: str, function: View | None, step: OverseenStep) -> np.ndarray:
        """(N,) float: a reward of the step; the environment's own without a function."""
        if function is None:
            name, values = f"step() of {self.env_id}", np.array(step.reward, np.float64)
        else:
            values = self._checked(name, function(step), len(step.reward), "fiub").astype(np.float64)
        self._require_finite(name, values, "rewards")
        return values

    def _require_finite(self, name: str, values: np.ndarray, kind: str) -> None:
        """Raises ValueError if a number, of an array whose first axis is that of copies, is nan or infinite."""
        finite = np.isfinite(values)
        if not finite.all():
            rows = ~finite.reshape(len(values), -1).all(1)
            first = values[~finite].flat[0]
            raise ValueError(
                f"{self.id}: {name} returns a number that is not finite ({first} in {rows.sum()} of {len(rows)} steps): "
                f"return finite {kind}"
            )

    def _checked(self, name: str, found: Any, n: int, kinds: str, count: int | None = None) -> np.ndarray:
        """(n,): what a function of the user returned.

        Raises:
            ValueError: it has another shape or type, or is outside 0 to count - 1.
        """
        values = np.asarray(found)
        if kinds == "iu" and values.dtype == bool:
            values = values.astype(np.int64)
        wanted = {"iu": "integers", "b": "booleans"}.get(kinds, "numbers")
        if values.shape != (n,) or values.dtype.kind not in kinds:
            raise ValueError(
                f"{self.id}: {name} returns {values.dtype} of shape {values.shape}: return {n} {wanted}, one a copy"
            )
        if count is not None and n and not (values.min() >= 0 and values.max() < count):
            raise ValueError(
                f"{self.id}: {name} returns {values.min()} to {values.max()}: return integers from 0 to {count - 1}"
            )
        return values
