"""Target of the gate's own loss, a cross-entropy: (Rollout) -> (T, N); positive: retain, negative: forget, 0: none."""

import numpy as np

from routing.oversight.parts import part
from routing.oversight.treatment import Rollout


@part("gate_loss")
def none(rollout: Rollout) -> np.ndarray:
    """The gate has no loss of its own."""
    return np.zeros(rollout.rewards.shape)


@part("gate_loss", needs=("gate",))
def verdict(rollout: Rollout) -> np.ndarray:
    """The gate is trained to tell good from bad episodes, on those with a verdict."""
    return np.nan_to_num(rollout.labels)
