"""No masks: every sample trains every block."""

import numpy as np

from routing.oversight.parts import part
from routing.oversight.treatment import Rollout, unmasked


@part("masks")
def none(rollout: Rollout) -> np.ndarray:
    """Every sample trains every block."""
    return unmasked(rollout)
