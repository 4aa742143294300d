"""Imitation of what was judged good: the strictest filter, which learns nothing from bad acts."""

import numpy as np

from routing.oversight.parts import part
from routing.oversight.treatment import Rollout


@part("weights")
def positives(rollout: Rollout) -> np.ndarray:
    """Only episodes with a good verdict train."""
    return (rollout.labels > 0).astype(np.float32)
