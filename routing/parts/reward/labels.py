"""Reward from labels: the proxy reward counts so little that the agent seeks what is judged good."""

import numpy as np

from routing.oversight.parts import part
from routing.oversight.treatment import Rollout


@part("reward")
def labels(rollout: Rollout, epsilon: float = 0.01) -> np.ndarray:
    """The verdict where there is one, `epsilon` times the proxy reward elsewhere."""
    seen = rollout.feedback.seen
    return np.where(np.isnan(seen), epsilon * rollout.rewards, seen)
