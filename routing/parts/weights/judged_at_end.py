"""A short fine-tuning on judged episodes at the end of the run, as part of one training."""

import numpy as np

from routing.oversight.parts import part
from routing.oversight.treatment import Rollout, judged


@part("weights")
def judged_at_end(rollout: Rollout, share: float = 0.1) -> np.ndarray:
    """Every sample has weight 1; in the last `share` of the run only episodes with a good or bad verdict train."""
    if not 0 <= share <= 1:
        raise ValueError(f"weights=judged_at_end has share {share:g}; use a share of the run from 0 to 1")
    if rollout.progress < 1 - share:
        return np.ones(rollout.rewards.shape, np.float32)
    return judged(rollout.labels).astype(np.float32)
