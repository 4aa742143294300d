"""Data filtering as the authors' code of Cloud et al. 2024 has it: unfinished episodes are kept.

That code cuts episodes at the end of a rollout and takes what remains for an episode that reached nothing, which the
overseer sees. Where rollouts are short, such fragments are most of what is kept.
"""

import numpy as np

from routing.oversight.parts import part
from routing.oversight.treatment import Rollout, unfinished


@part("weights")
def seen_or_unfinished(rollout: Rollout) -> np.ndarray:
    """Episodes whose end the overseer saw train, and those that are unfinished at the end of the rollout."""
    kept = ~np.isnan(rollout.labels) | unfinished(rollout.feedback)
    return kept.astype(np.float32)
