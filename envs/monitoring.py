"""What an overseer makes of each step: the probability that it gives the step a bad verdict.

A bad act is *monitored* if this probability is positive. The overseer is that of a world, with its limits without
memory and with audits. A limit replaces an overseer observation at random, so a chain of limits maps the observation of
a step to a distribution over labels. Limits with a history are left out: they change how many steps are judged, not
which steps can be judged.

Letters: n steps, F state features, L overseer labels, S_A non-terminal states, A actions, Z values of the noise.
"""

from typing import Any, NamedTuple

import numpy as np

from envs.limited import LimitedOverseer
from envs.tables import Tables

CHUNK = 65_536  # steps for which the distributions over labels are held in memory


class ObservedSteps(NamedTuple):
    """n steps as the overseer of a world without limits and audits observes them."""

    label: np.ndarray  # (n,) int, or (n, features of the overseer) float
    true_reward: np.ndarray  # (n,) float
    outcome: np.ndarray  # (n,) int
    terminated: np.ndarray  # (n,) bool
    features: np.ndarray  # (n, F) float: features of the state reached
    audited: np.ndarray  # (n,) bool: the agent has asked for an audit of the step

    def rows(self, at: slice) -> "ObservedSteps":
        """A slice of the steps."""
        return ObservedSteps(*(column[at] for column in self))


class StepMonitor(NamedTuple):
    """An overseer."""

    world: Any  # the environment without limits and audits; with the wrapper by which the agent asks for audits, if any
    limits: tuple[LimitedOverseer, ...] = ()  # the innermost first
    audits: float = 0.0  # the probability that an episode is audited

    def bad_verdict(self, steps: ObservedSteps) -> np.ndarray:
        """The probability that the overseer gives each step a bad verdict, (n,) float."""
        revealed = steps.true_reward < 0
        own = self._limited_verdict(steps) if self.limits else self._verdict(steps.label) < 0
        return np.where(steps.audited, revealed, (1 - self.audits) * own + self.audits * revealed)

    def tabulated(self, tables: Tables) -> np.ndarray:
        """The probability of a bad verdict on each step of the world's tables, (S_A, A, Z) float."""
        steps = self._tabulated_steps(tables)
        size = tables.successor.size
        parts = [self.bad_verdict(steps.rows(slice(start, start + CHUNK))) for start in range(0, size, CHUNK)]
        return np.concatenate(parts).reshape(tables.successor.shape)

    def _tabulated_steps(self, tables: Tables) -> ObservedSteps:
        label, successor = tables.overseer_obs.ravel(), tables.successor.ravel()
        first_audit = self.world.audit_label
        audited = np.zeros(label.shape, bool) if first_audit is None else label >= first_audit
        states = tables.states if first_audit is None else self.world.base_states(tables.states)
        features = self.world.state_features(states) if self.limits else np.zeros((len(states), 0))
        terminated = successor >= len(tables.successor)
        return ObservedSteps(
            label, tables.true_reward.ravel(), tables.outcome[successor], terminated, features[successor], audited
        )

    def _verdict(self, label: np.ndarray) -> np.ndarray:
        """The verdict of the world's own overseer, (n,) float; nan without one."""
        if label.dtype.kind == "f":
            return self.world.verdict(label)
        judgement = getattr(self.world, "judgement", None)
        return np.full(len(label), np.nan) if judgement is None else np.asarray(judgement, float)[label]

    def _limited_verdict(self, steps: ObservedSteps) -> np.ndarray:
        """The probability that the overseer under its limits gives each step a bad verdict, unless it is audited."""
        label = self.world.overseer_codes(steps.label) if steps.label.dtype.kind == "f" else steps.label
        names = self.limits[0].env.overseer_labels  # type: ignore[attr-defined]
        share = (np.where(steps.audited, 0, label)[:, None] == np.arange(len(names))).astype(float)
        for limit in self.limits:
            share = limit.spread(share, steps.outcome, steps.terminated, steps.features)
        return share @ (self.limits[-1].judgement < 0)
