"""The proxy reward, as if there were no overseer."""

import numpy as np

from routing.oversight.parts import part
from routing.oversight.treatment import Rollout


@part("reward")
def proxy(rollout: Rollout) -> np.ndarray:
    """The proxy reward."""
    return rollout.rewards.copy()
