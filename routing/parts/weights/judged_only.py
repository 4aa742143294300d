"""Strict data filtering: episodes that reached nothing do not train either."""

import numpy as np

from routing.oversight.parts import part
from routing.oversight.treatment import Rollout, judged


@part("weights")
def judged_only(rollout: Rollout) -> np.ndarray:
    """Only episodes with a good or bad verdict train."""
    return judged(rollout.labels).astype(np.float32)
