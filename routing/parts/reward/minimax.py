"""Pessimism about what is not seen: the worst value that is consistent with the verdicts.

In a monitored Markov decision process whose reward is never observed in some states, the minimax-optimal policy takes
that reward for the worst possible one (Parisi et al. 2024, arXiv 2402.06819). An agent has no reason to go where the
overseer does not look, and none to go where it looks rarely, so this also gives up what is good and unseen.
"""

from typing import Any

import numpy as np

from routing.oversight.parts import part
from routing.oversight.treatment import Rollout, judged, seen_rewards


@part("reward")
class minimax:  # noqa: N801  (the name of the part)
    """The verdict where there is one; a positive proxy reward without a verdict counts as the least verdict so far."""

    def __init__(self, seed: int) -> None:
        self.least = np.inf

    def __call__(self, rollout: Rollout) -> np.ndarray:
        seen = rollout.feedback.seen
        self.least = float(np.min(seen[judged(seen)], initial=self.least))
        unseen = np.isnan(seen) & (rollout.rewards > 0)
        return np.where(unseen, np.minimum(rollout.rewards, self.least), seen_rewards(rollout))

    def snapshot(self) -> dict[str, Any]:
        """Return the least verdict."""
        return {"least": self.least}

    def restore(self, state: dict[str, Any]) -> None:
        """Restore the least verdict."""
        self.least = state["least"]
