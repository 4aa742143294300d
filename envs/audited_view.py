"""Base class of wrappers in which the overseer observes the true reward of some steps.

Letters: N copies, K state variables of the wrapped world, L overseer labels.
"""

import functools
from typing import Any

import numpy as np
from gymnasium.vector import VectorEnv

from envs import drawing
from envs.audit_labels import AuditLabels, make_audit_labels
from envs.enumeration import compile_world
from envs.overseer_view import OverseerView, put_info
from envs.snapshot import SnapshotState
from envs.tables import Tables

STREAM = 2


class AuditedView(OverseerView):
    """Steps are audited or not; the tables of a world gain a last state variable, AUDITED."""

    _more_rewards: tuple[float, ...] = ()  # true rewards that occur beside those of the world's tables

    def __init__(self, env: VectorEnv) -> None:
        super().__init__(env, STREAM)
        if getattr(env, "audit_label", None) is not None:
            raise ValueError(f"{type(self).__name__} around {type(env).__name__}: the steps are audited already")
        self._audited = np.zeros(env.num_envs, bool)

    @functools.cached_property
    def _labels(self) -> AuditLabels:
        return make_audit_labels(self.env, *self._more_rewards)

    @property
    def audit_label(self) -> int:
        """The first label of audited steps."""
        return self._labels.first

    @property
    def hidden(self) -> np.ndarray:
        """(L,) int: the label that each looks like if the overseer misses it; no audit is missed."""
        own = np.asarray(getattr(self.env, "hidden", ()), np.int64)
        labels = np.arange(len(self.judgement))
        labels[: len(own)] = own
        return labels

    def verdict(self, overseer_obs: np.ndarray) -> np.ndarray:
        """The verdict on each overseer observation: (N,) -> (N,) float, nan for none."""
        return self.env.verdict(overseer_obs) if self.overseer_features else self.judgement[overseer_obs]  # type: ignore[attr-defined]

    @property
    def beliefs(self) -> dict[int, tuple[np.ndarray, np.ndarray]]:
        """The beliefs of the world about states that are reached without an audit."""
        believed = getattr(self.env, "beliefs", {})
        return {label: (np.pad(states, ((0, 0), (0, 1))), p) for label, (states, p) in believed.items()}

    def base_states(self, states: np.ndarray) -> np.ndarray:
        """States of the wrapped world, (n, K), from these or from states of the tables, (n, K + 1)."""
        return states[..., : self._columns]

    @functools.cached_property
    def _columns(self) -> int:
        return compile_world(self.env).states.shape[1]

    def picture(self, state: np.ndarray) -> drawing.Picture:
        """The picture of a state of the world or of the tables."""
        return self.env.picture(self.base_states(state))  # type: ignore[attr-defined]

    def _put_overseer_obs(self, info: dict[str, Any], true_reward: np.ndarray, audited: np.ndarray) -> None:
        """Sets the overseer observations and the audits of the step just made, (N,) both, in its info."""
        overseer_obs = self._inner_overseer_obs(info)
        if audited.any() and not self.overseer_features:
            overseer_obs[audited] = self._labels.of(true_reward[audited])
        put_info(info, "overseer_obs", overseer_obs)
        put_info(info, "audited", audited.copy())

    def snapshot(self) -> SnapshotState:
        """The wrapped environment's snapshot and the audits of the current episodes."""
        return {**super().snapshot(), "audited": self._audited.copy()}

    def restore(self, state: SnapshotState) -> None:
        """Continues from a snapshot, with the same audits."""
        super().restore(state)
        self._audited = state["audited"].copy()

    def tabulate(self) -> Tables:
        """The world's tables with the audits in the state; raises NotEnumerable."""
        return self._tables

    @functools.cached_property
    def _tables(self) -> Tables:
        return self._tabulated(compile_world(self.env))

    def _tabulated(self, base: Tables) -> Tables:
        """The tables, from those of the wrapped world."""
        raise NotImplementedError
