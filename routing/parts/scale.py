"""Factor of the loss: (weights (n,)) -> float. The learner scales the weights of kept samples to mean 1."""

import numpy as np

from routing.oversight.parts import part


@part("scale")
def one(weights: np.ndarray) -> float:
    """The loss is the mean over the samples that are kept, so a filter does not change the step size."""
    return 1.0


@part("scale")
def share_kept(weights: np.ndarray) -> float:
    """The loss is multiplied by the share of samples that are kept, as in the authors' code of arXiv 2410.04332."""
    return float((weights > 0).mean())
