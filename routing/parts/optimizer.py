"""Optimisers: () -> Optimizer. The learning rate is a setting of the sweep."""

import torch

from routing.oversight.composition import Optimizer
from routing.oversight.parts import part


@part("optimizer")
def adam(eps: float = 1e-5) -> Optimizer:
    """Adam (Kingma and Ba 2015, arXiv 1412.6980)."""
    return Optimizer(torch.optim.Adam, {"eps": eps})


@part("optimizer")
def sgd(momentum: float = 0.0) -> Optimizer:
    """Stochastic gradient descent; without momentum a block moves only where it has a gradient."""
    return Optimizer(torch.optim.SGD, {"momentum": momentum})
