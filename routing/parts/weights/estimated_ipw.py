"""Inverse propensity weights where the overseer's propensity is not declared but estimated.

The estimate is the share of judged episodes among all that could have been judged so far: those that ended with a proxy
reward. It is the same for all episodes, so it is right where verdicts are missing at random.
"""

import math
from typing import Any

import numpy as np

from routing.oversight.parts import part
from routing.oversight.treatment import Rollout, judged


@part("weights")
class estimated_ipw:  # noqa: N801  (the name of the part)
    """Weight 1/p, at most `cap`, on judged episodes, p being the share of verdicts on rewarded endings so far."""

    def __init__(self, seed: int, cap: float = math.inf) -> None:
        if cap < 1:
            raise ValueError(f"estimated_ipw has cap {cap:g}; a weight is at least 1")
        self.cap = cap
        self.judged, self.rewarded = 0, 0

    def __call__(self, rollout: Rollout) -> np.ndarray:
        dones = rollout.feedback.dones
        labelled = dones & judged(rollout.feedback.seen)
        self.judged += int(labelled.sum())
        self.rewarded += int((labelled | (dones & (rollout.rewards != 0))).sum())
        weight = min(self.rewarded / self.judged, self.cap) if self.judged else 1.0
        return np.where(judged(rollout.labels), weight, 1.0)

    def snapshot(self) -> dict[str, Any]:
        """Return the counts."""
        return {"judged": self.judged, "rewarded": self.rewarded}

    def restore(self, state: dict[str, Any]) -> None:
        """Restore the counts."""
        self.judged, self.rewarded = state["judged"], state["rewarded"]
