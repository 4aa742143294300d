"""Control of gradient routing: everything is absorbed by the forget experts, and the retain expert never learns."""

import numpy as np

from routing.oversight.parts import part
from routing.oversight.treatment import GATE, RETAIN, Rollout, unmasked


@part("masks", needs=("forget",))
def absorb_all(rollout: Rollout) -> np.ndarray:
    """Every sample trains the forget experts alone."""
    masks = unmasked(rollout)
    masks[..., RETAIN] = 0
    masks[..., GATE] = 0
    return masks
