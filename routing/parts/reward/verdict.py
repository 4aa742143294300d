"""Naive oversight: the verdict replaces the proxy reward where there is one."""

import numpy as np

from routing.oversight.parts import part
from routing.oversight.treatment import Rollout, believed_rewards


@part("reward")
def verdict(rollout: Rollout) -> np.ndarray:
    """The verdict where there is one, the proxy reward elsewhere."""
    return believed_rewards(rollout)
