"""A loss that is no number makes every parameter so at the next step: a run ends there, and says where it was."""

import torch
from torch import nn


class NotFiniteError(ArithmeticError):
    """A loss or a parameter is infinite, or is no number."""

    def __init__(self, what: str, update: int) -> None:
        super().__init__(f"update {update}: {what} is not finite; try a smaller --learning-rate, or --max-grad-norm")


def check_finite(loss: torch.Tensor, policy: nn.Module, update: int) -> None:
    """Raises NotFiniteError unless the loss is a finite number; blames a parameter if one is to blame."""
    if not torch.isfinite(loss):
        check_finite_parameters(policy, update)
        raise NotFiniteError(f"the loss ({loss.item()})", update)


def check_finite_parameters(policy: nn.Module, update: int) -> None:
    """Raises NotFiniteError at the first parameter with an entry that is not a finite number."""
    parameters = dict(policy.named_parameters())
    if torch.isfinite(torch.nn.utils.get_total_norm(parameters.values())):
        return
    for name, parameter in parameters.items():
        if not torch.isfinite(parameter).all():
            raise NotFiniteError(f"parameter {name}", update)
