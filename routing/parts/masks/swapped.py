"""Control of gradient routing: the channels are swapped, so good episodes train what is ablated at deployment."""

import numpy as np

from routing.oversight.parts import part
from routing.oversight.treatment import Rollout
from routing.parts.masks.routed import masks_by_label


@part("masks", needs=("forget",))
def swapped(rollout: Rollout, unlabelled: str = "both", push: float = 0.0) -> np.ndarray:
    """Good episodes train the forget experts, bad ones the retain expert."""
    return masks_by_label(rollout, -rollout.labels, unlabelled, push)
