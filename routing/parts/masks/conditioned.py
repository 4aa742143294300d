"""Verdicts as an input: the columns of a mask are the code that `network=conditioned` reads; no gradient is masked."""

import numpy as np

from routing.oversight.parts import part
from routing.oversight.treatment import CODES, Rollout, unmasked


@part("masks", needs=("code",))
def conditioned(rollout: Rollout) -> np.ndarray:
    """Each sample's verdict as an input of the network: good, bad or none (Korbak et al. 2023, arXiv 2302.08582)."""
    masks, labels = unmasked(rollout), rollout.labels
    good, bad = labels > 0, labels < 0
    masks[..., : len(CODES)] = np.stack([good, bad, ~(good | bad)], -1)
    return masks
