"""Optimiser support for regions: parameter groups, norm penalties, and skipping a region's update.

A region that never receives a gradient has zero gradients, and Adam leaves it exactly unchanged. AdamW does not: its
weight decay multiplies every parameter whose gradient is not None by 1 - lr * weight_decay at each step. A region that
was trained earlier keeps moving by momentum. Setting the gradient to None prevents both.
"""

from collections.abc import Mapping
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
