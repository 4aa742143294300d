"""Which samples train the critic: (masks (T, N, M)) -> (T, N), which multiplies the weight in the critic's loss."""

import numpy as np

from routing.oversight.parts import part
from routing.oversight.treatment import RETAIN


@part("critic", "all")
def every(masks: np.ndarray) -> np.ndarray:
    """Every sample trains the critic."""
    return np.ones(masks.shape[:2], np.float32)


@part("critic")
def retain(masks: np.ndarray) -> np.ndarray:
    """Only samples that train the retain expert train the critic, which does not learn the returns of others."""
    return np.maximum(masks[..., RETAIN], 0).astype(np.float32)
