"""Data filtering by episode as in Cloud et al. 2024 (arXiv 2410.04332, section 4.3), without unfinished episodes.

Episodes that the overseer saw reach nothing are kept. An episode that is unfinished at the end of the rollout has no
ending that could be seen and is dropped: `seen_or_unfinished` keeps it, as the authors' code does.
"""

import numpy as np

from routing.oversight.parts import part
from routing.oversight.treatment import Rollout


@part("weights")
def seen(rollout: Rollout) -> np.ndarray:
    """Only episodes whose end the overseer saw train, including those that reached nothing."""
    return (~np.isnan(rollout.labels)).astype(np.float32)
