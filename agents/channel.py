"""What the overseer of an environment makes of its observations, in the form in which a rollout buffer reads it.

Rollouts by tables hold overseer observations as numbers, L of them. Rollouts by stepping hold what the environment
returns: numbers, or features (F,) that are nan where the overseer did not observe them.
"""

from typing import Any

import numpy as np
from gymnasium.vector import VectorEnv

from agents.worlds import history_limits
from routing import View


class Channel:
    """The overseer's side of an environment.

    Args:
        env: the environment; it declares `judgement` and `oversight_prob`.
        seed: of its limits with a history.

    Attributes:
        limits: name -> limit with a history, in the order in which they apply.
        reads_states: whether a limit may read outcomes and features.
    """

    def __init__(self, env: VectorEnv, seed: int) -> None:
        self.env: Any = env
        self.limits = {f"{i}: {bound.name}": bound.make(seed + i) for i, bound in enumerate(history_limits(env))}
        self.audit_label: int | None = getattr(env, "audit_label", None)
        codebook = getattr(env, "overseer_codebook", None)  # (L, F); empty if the overseer observes numbers
        self.codebook: np.ndarray | None = codebook if codebook is not None and codebook.size else None
        bad = np.asarray(env.judgement) < 0  # type: ignore[attr-defined]  # (L,)
        self.kinds = (np.cumsum(bad) * bad).clip(max=np.iinfo(np.int8).max).astype(np.int8)  # (L,) kind of each label

    @property
    def reads_states(self) -> bool:
        """Whether the view needs outcomes and features."""
        return bool(self.limits)

    def view(self, view: View) -> View:
        """Add the verdict on each step and the kind of bad verdict to a view, and apply the limits with a history.

        Kinds are the labels with a negative judgement, numbered from 1. Without a verdict there is no kind.

        Args:
            view: of a rollout. Without `audited`, the observations are numbers that show what was audited.
        """
        audited = view.audited
        if self.audit_label is not None and audited is None:
            audited = view.overseer_obs >= self.audit_label
        verdict = self._verdict(view.overseer_obs)
        if audited is not None:
            verdict = np.where(audited, view.true_reward, verdict)
        view = view._replace(verdict=verdict, audited=audited, kinds=self._kinds(view.overseer_obs, verdict))
        if not self.limits:
            return view
        for limit in self.limits.values():
            view = limit(view)
        bad = np.asarray(view.verdict) < 0
        return view._replace(kinds=np.where(bad, np.asarray(view.kinds), np.int8(0)))

    def _kinds(self, overseer_obs: np.ndarray, verdict: np.ndarray) -> np.ndarray:
        """(T, N) int8: the kind of each bad verdict, 1 if the overseer observes features; 0 where there is none."""
        bad = verdict < 0
        if overseer_obs.dtype.kind == "f":
            return bad.astype(np.int8)
        return np.where(bad, self.kinds[overseer_obs], np.int8(0))

    def _verdict(self, overseer_obs: np.ndarray) -> np.ndarray:
        """(T, N) int or (T, N, F) -> (T, N); nan where the overseer gives none."""
        judge = getattr(self.env, "verdict", None)
        if overseer_obs.dtype.kind != "f" or judge is None:
            return self.env.judgement[overseer_obs]
        flat = overseer_obs.reshape(-1, *overseer_obs.shape[2:])
        return np.asarray(judge(flat), float).reshape(overseer_obs.shape[:2])

    def features(self, overseer_obs: np.ndarray) -> np.ndarray:
        """What the overseer observed as features where the world has any, else as numbers."""
        if self.codebook is None or overseer_obs.dtype.kind == "f":
            return overseer_obs
        known = np.minimum(overseer_obs, len(self.codebook) - 1)
        found = self.codebook[known]
        found[overseer_obs >= len(self.codebook)] = np.nan
        return found
