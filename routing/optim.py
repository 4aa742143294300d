"""What an optimiser needs to know of regions: their parameters apart, a price on their size, and when to leave them.

A region that is never trained has gradients of zero, on which Adam stands exactly still. AdamW does not: its decay
multiplies every parameter that has a gradient by 1 - lr * weight_decay at each step. A region that was trained before
moves on by momentum. Both end where the gradient is None.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from routing.regions import ELSEWHERE, Regions


def optimizer_groups(regions: Regions, options: Mapping[str, Mapping[str, Any]] | None = None) -> list[dict[str, Any]]:
    """Parameter groups for a torch optimiser: one for each region, and one for the rest.

    >>> torch.optim.AdamW(optimizer_groups(regions, {"forget": {"weight_decay": 0.0}}))

    Args:
        options: region -> what the optimiser should do otherwise there.

    Raises:
        ValueError: a region holds rows or columns, or two hold the same parameter; names the parameter.
    """
    options = options or {}
    for name in set(options) - {ELSEWHERE}:
        _ = regions[name]  # raises if unknown
    groups = [{"name": name, "params": _whole(regions, name), **options.get(name, {})} for name in regions]
    owner: dict[int, str] = {}
    for group in groups:
        for parameter in group["params"]:
            if (other := owner.setdefault(id(parameter), group["name"])) != group["name"]:
                raise ValueError(f"regions {other!r} and {group['name']!r} hold the same parameter; make them disjoint")
    rest = [parameter for parameter in regions.model.parameters() if id(parameter) not in owner]
    return [*groups, {"name": ELSEWHERE, "params": rest, **options.get(ELSEWHERE, {})}]


def _whole(regions: Regions, name: str) -> list[torch.nn.Parameter]:
    for piece in regions[name].pieces:
        if piece.units is not None:
            raise ValueError(
                f"region {name!r} holds only a part of {piece.name!r}; an optimiser takes whole parameters"
            )
    return list(dict.fromkeys(piece.parameter for piece in regions[name].pieces))


def silence(regions: Regions, *names: str) -> None:
    """Set the gradients of regions to None, after backward and before the step: no optimiser then moves them at all.

    Raises:
        ValueError: a region holds rows or columns.
    """
    for name in names:
        for parameter in _whole(regions, name):
            parameter.grad = None


def penalty(regions: Regions, name: str, p: int = 2) -> Tensor:
    """The sum of |theta|^p over a region, to be added to a loss: it pulls that region alone towards 0.

    Args:
        p: 1 for sparsity, 2 for decay.
    """
    return torch.stack([piece.of(piece.parameter).abs().pow(p).sum() for piece in regions[name].pieces]).sum()
