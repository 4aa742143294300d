"""Strict data filtering: episodes that reached nothing do not train either."""

import numpy as np

from routing.oversight.parts import part
from routing.oversight.treatment import Rollout, episode_labels, judged


@part("weights")
def judged_only(rollout: Rollout) -> np.ndarray:
    """Only episodes with a good or bad verdict train."""
    return judged(episode_labels(rollout.feedback)).astype(np.float32)
