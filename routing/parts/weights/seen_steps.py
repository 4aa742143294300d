"""Data filtering by step: what the overseer could not judge does not train, wherever the episode ends."""

import numpy as np

from routing.oversight.parts import part
from routing.oversight.treatment import Rollout


@part("weights")
def seen_steps(rollout: Rollout) -> np.ndarray:
    """Only steps with a verdict of their own train."""
    return (~np.isnan(rollout.feedback.seen)).astype(np.float32)
