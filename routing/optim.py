"""Optimiser support for regions: parameter groups, norm penalties, and skipping a region's update.

A region that never receives a gradient has zero gradients, and Adam leaves it exactly unchanged. AdamW does not: its
weight decay multiplies every parameter whose gradient is not None by 1 - lr * weight_decay at each step. A region that
was trained earlier keeps moving by momentum. Setting the gradient to None prevents both.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from routing.regions import ELSEWHERE, Regions


def optimizer_groups(regions: Regions, options: Mapping[str, Mapping[str, Any]] | None = None) -> list[dict[str, Any]]:
    """Build parameter groups for a torch optimiser: one for each region and one, `(elsewhere)`, for the rest.

    >>> torch.optim.AdamW(optimizer_groups(regions, {"forget": {"weight_decay": 0.0}}))

    Args:
        regions: disjoint regions of whole parameters.
        options: region -> optimiser options of its group.

    Returns:
        One dictionary for each group, with its name, parameters and options.

    Raises:
        ValueError: a region contains only rows or columns of a parameter, two regions share a parameter, or `options`
            names an unknown region.
    """
    options = options or {}
    for name in set(options) - {ELSEWHERE}:
        _ = regions[name]  # raises if unknown
    groups = [{"name": name, "params": _whole(regions, name), **options.get(name, {})} for name in regions]
    owner: dict[int, str] = {}
    for group in groups:
        for parameter in group["params"]:
            if (other := owner.setdefault(id(parameter), group["name"])) != group["name"]:
                raise ValueError(f"regions {other!r} and {group['name']!r} share a parameter; make them disjoint")
    rest = [parameter for parameter in regions.model.parameters() if id(parameter) not in owner]
    return [*groups, {"name": ELSEWHERE, "params": rest, **options.get(ELSEWHERE, {})}]


def _whole(regions: Regions, name: str) -> list[torch.nn.Parameter]:
    for piece in regions[name].pieces:
        if piece.units is not None:
            raise ValueError(
                f"region {name!r} contains only part of {piece.name!r}; optimiser groups need whole parameters"
            )
    return list(dict.fromkeys(piece.parameter for piece in regions[name].pieces))


def silence(regions: Regions, *names: str) -> None:
    """Set the gradients of regions to None, so that the next optimiser step does not move them.

    Call it between `backward()` and the optimiser step.

    Raises:
        ValueError: a region is unknown or contains only rows or columns of a parameter.
    """
    for name in names:
        for parameter in _whole(regions, name):
            parameter.grad = None


def penalty(regions: Regions, name: str, p: int = 2) -> Tensor:
    """Compute the sum of |theta|^p over a region, a penalty to add to the loss.

    Args:
        regions: the regions of the model.
        name: the region to penalise.
        p: 1 for sparsity (L1), 2 for weight decay (L2).

    Returns:
        () scalar.

    Raises:
        ValueError: the region is unknown.
    """
    return torch.stack([piece.of(piece.parameter).abs().pow(p).sum() for piece in regions[name].pieces]).sum()


class SplitAdam(torch.optim.Adam):
    """Adam whose second moment is of other gradients than its first (GRAFT, 2026).

    Adam divides the first moment of a gradient by the root of the second, so a constant mask cancels, and a parameter
    that few examples train moves as far as others do. With the second moment of unrouted gradients, a step is as long
    as the routed share of the gradient. `step()` is Adam's; arguments are those of `torch.optim.Adam`, without amsgrad,
    maximize and weight decay.
    """

    @torch.no_grad()
    def split_step(self, unrouted: Sequence[Tensor | None]) -> None:
        """Step with first moments of the parameters' gradients and second moments of others.

        Args:
            unrouted: a gradient for each parameter, in the order of the parameter groups. A parameter whose own
                gradient is None is not changed, nor are its moments.
        """
        others = iter(unrouted)
        for group in self.param_groups:
            for parameter in group["params"]:
                other = next(others)
                if parameter.grad is not None:
                    self._step_one(parameter, parameter.grad if other is None else other, group)

    def _step_one(self, parameter: Tensor, other: Tensor, group: Mapping[str, Any]) -> None:
        """One step of Adam (Kingma and Ba 2015, algorithm 1) on a parameter, in torch's order of operations."""
        state = self.state[parameter]
        if not state:
            state["step"] = torch.zeros((), device=parameter.device if group["fused"] else "cpu")
            state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(parameter), torch.zeros_like(parameter)
        state["step"] += 1
        (beta_1, beta_2), step = group["betas"], float(state["step"])
        state["exp_avg"].lerp_(parameter.grad, 1 - beta_1)
        state["exp_avg_sq"].mul_(beta_2).addcmul_(other, other, value=1 - beta_2)
        scale = (1 - beta_2**step) ** 0.5
        denominator = (state["exp_avg_sq"].sqrt() / scale).add_(group["eps"])
        parameter.addcdiv_(state["exp_avg"], denominator, value=-group["lr"] / (1 - beta_1**step))
