"""Ablate a region: overwrite its parameters permanently or within a context.

The new values are zeros, values that make each unit output its mean, or a new initialisation. The optimiser keeps its
momentum, so a region that must stay ablated must not be trained further. This is for any PyTorch module; an agent of
`agents` is deployed without a block by `agents.policies.blocks.BlockUse`.
"""

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from routing.regions import Regions
from routing.selectors import Output, Region

Fill = Callable[[nn.Module, Region], list[Tensor]]
"""Maps a model and a region to the new value of each piece of the region."""


def zero(model: nn.Module, region: Region) -> list[Tensor]:
    """Return zeros: units of a linear layer then output 0, and the columns that read them are 0."""
    return [torch.zeros_like(piece.of(piece.parameter)) for piece in region.pieces]


def mean(batch: Tensor) -> Fill:
    """Make every unit output its mean over a batch: weights are 0 and the bias is that mean.

    Args:
        batch: (B, ...) inputs of the model over which activations are averaged.

    Returns:
        A fill for `ablate` and `ablated`.

    Raises:
        ValueError: (on use) a layer of the region has no bias, or its output is not an output of the region.
    """

    def fill(model: nn.Module, region: Region) -> list[Tensor]:
        means = _mean_outputs(model, region.outputs, batch)
        values = []
        for piece in region.pieces:
            if not piece.reads and (piece.owner not in means or getattr(piece.owner, "bias", None) is None):
                raise ValueError(
                    f"{piece.name!r} has no bias to store a mean; ablate units of layers with a bias, or ablate by zero"
                )
            value = piece.of(piece.parameter).detach()
            new = means[piece.owner].reshape(value.shape) if piece.local == "bias" else torch.zeros_like(value)
            values.append(value.clone() if piece.reads else new)
        return values

    return fill


def reinit(seed: int) -> Fill:
    """Reinitialise with each layer's own `reset_parameters`.

    Args:
        seed: of the initialisation; the global generators are left unchanged.

    Returns:
        A fill for `ablate` and `ablated`.

    Raises:
        ValueError: (on use) a layer of the region has no `reset_parameters`.
    """

    def fill(model: nn.Module, region: Region) -> list[Tensor]:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            layers = {owner: _reinitialised(owner) for owner in dict.fromkeys(piece.owner for piece in region.pieces)}
        return [piece.of(getattr(layers[piece.owner], piece.local)).detach() for piece in region.pieces]

    return fill


def ablate(regions: Regions, name: str, fill: Fill = zero) -> None:
    """Overwrite a region's parameters permanently.

    Args:
        regions: the regions of the model.
        name: the region to ablate.
        fill: computes the new values: `zero`, `mean(batch)` or `reinit(seed)`.

    Raises:
        ValueError: the region is unknown, or `fill` does not apply to it.
    """
    region = regions[name]
    _write(region, fill(regions.model, region))


@contextmanager
def ablated(regions: Regions, name: str, fill: Fill = zero) -> Iterator[None]:
    """Overwrite a region's parameters within a context, then restore them bit for bit. Arguments as for `ablate`."""
    region = regions[name]
    before = [piece.of(piece.parameter).detach().clone() for piece in region.pieces]
    ablate(regions, name, fill)
    try:
        yield
    finally:
        _write(region, before)


def _write(region: Region, values: list[Tensor]) -> None:
    with torch.no_grad():
        for piece, value in zip(region.pieces, values, strict=True):
            piece.of(piece.parameter).copy_(value)


def _mean_outputs(model: nn.Module, outputs: tuple[Output, ...], batch: Tensor) -> dict[nn.Module, Tensor]:
    """Compute the mean activation of each unit of each output over a batch."""
    means: dict[nn.Module, Tensor] = {}

    def record_mean(output: Output):
        def hook(module: nn.Module, args: object, result: Tensor) -> None:
            units = result.movedim(output.axis, -1).flatten(0, -2).mean(0)
            means[module] = units if output.units is None else units[output.units]

        return output.module.register_forward_hook(hook)

    handles = [record_mean(output) for output in outputs]
    try:
        with torch.no_grad():
            model(batch)
    finally:
        for handle in handles:
            handle.remove()
    return means


def _reinitialised(owner: nn.Module) -> nn.Module:
    if not callable(getattr(owner, "reset_parameters", None)):
        raise ValueError(f"{type(owner).__name__} has no reset_parameters(); ablate it by zero instead")
    layer = copy.deepcopy(owner)
    layer.reset_parameters()  # type: ignore[operator]
    return layer
