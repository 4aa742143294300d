"""Optimisers: () -> Optimizer. The learning rate is a setting of the sweep."""

import torch

from routing.optim import SplitAdam
from routing.oversight.composition import Optimizer
from routing.oversight.parts import part


@part("optimizer")
def adam(eps: float = 1e-5) -> Optimizer:
    """Adam (Kingma and Ba 2015, arXiv 1412.6980)."""
    return Optimizer(torch.optim.Adam, {"eps": eps})


@part("optimizer", needs=("forget",))
def split_adam(eps: float = 1e-5) -> Optimizer:
    """Adam whose first moment is of the routed and whose second moment is of the unrouted gradients (GRAFT, 2026).

    The second moment is that of the loss under unit masks, which costs a second forward and backward pass where a
    sample of the minibatch is masked. A block that no sample trains stays unchanged.
    """
    return Optimizer(SplitAdam, {"eps": eps})


@part("optimizer")
def sgd(momentum: float = 0.0) -> Optimizer:
    """Stochastic gradient descent; without momentum a block moves only where it has a gradient."""
    return Optimizer(torch.optim.SGD, {"momentum": momentum})
