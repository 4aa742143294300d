"""Stops a run at the first loss or parameter that is not finite.

One optimiser step on such a loss makes every parameter nan, so the error names the update and the place.
"""

import torch
from torch import nn


class NotFiniteError(ArithmeticError):
    """A loss or a parameter is infinite or nan."""

    def __init__(self, what: str, update: int) -> None:
        super().__init__(f"update {update}: {what} is not finite; try a smaller --learning-rate, or --max-grad-norm")


def check_finite_loss(loss: torch.Tensor, policy: nn.Module, update: int) -> None:
    """Check that a loss is finite.

    Args:
        loss: scalar.
        policy: whose parameters produced the loss.
        update: number of updates done, for the message.

    Raises:
        NotFiniteError: the loss is not finite; the error names the parameter that is not, if there is one.
    """
    if not torch.isfinite(loss):
        check_finite_parameters(policy, update)
        raise NotFiniteError(f"the loss ({loss.item()})", update)


def check_finite_parameters(policy: nn.Module, update: int) -> None:
    """Check that every parameter is finite.

    Raises:
        NotFiniteError: names the first parameter that is not.
    """
    parameters = dict(policy.named_parameters())
    if torch.isfinite(torch.nn.utils.get_total_norm(parameters.values())):
        return
    for name, parameter in parameters.items():
        if not torch.isfinite(parameter).all():
            raise NotFiniteError(f"parameter {name}", update)
