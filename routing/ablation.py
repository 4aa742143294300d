"""Removing what a region learned: its parameters are overwritten, for good or while a context lasts.

What takes their place is zero, what makes its units give their mean, or a fresh start. An optimiser keeps its momentum,
so a region that is to stay ablated must not be trained on.
"""

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from routing.regions import Regions
from routing.selectors import Output, Region

Fill = Callable[[nn.Module, Region], list[Tensor]]
"""Model and region -> what to write in each of its pieces."""


def zero(model: nn.Module, region: Region) -> list[Tensor]:
    """Nothing: units of a linear layer then give 0, and nothing reads them."""
    return [torch.zeros_like(piece.of(piece.parameter)) for piece in region.pieces]


def mean(batch: Tensor) -> Fill:
    """What makes every unit give its mean over a batch, whatever the input: weights 0, and that mean as bias.

    Raises:
        ValueError: a layer of the region has no bias, or is not itself where the region's activations leave.
    """

    def fill(model: nn.Module, region: Region) -> list[Tensor]:
        means = _mean_outputs(model, region.outputs, batch)
        values = []
        for piece in region.pieces:
            if not piece.reads and (piece.owner not in means or getattr(piece.owner, "bias", None) is None):
                raise ValueError(
                    f"{piece.name!r} has no bias to hold a mean; ablate units of layers with biases, or by zero"
                )
            held = piece.of(piece.parameter).detach()
            own = means[piece.owner].reshape(held.shape) if piece.local == "bias" else torch.zeros_like(held)
            values.append(held.clone() if piece.reads else own)
        return values

    return fill


def reinit(seed: int) -> Fill:
    """A fresh start, as the layers' own `reset_parameters` makes it.

    Raises:
        ValueError: a layer of the region has no `reset_parameters`.
    """

    def fill(model: nn.Module, region: Region) -> list[Tensor]:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            fresh = {owner: _fresh(owner) for owner in dict.fromkeys(piece.owner for piece in region.pieces)}
        return [piece.of(getattr(fresh[piece.owner], piece.local)).detach() for piece in region.pieces]

    return fill


def ablate(regions: Regions, name: str, fill: Fill = zero) -> None:
    """Overwrite a region's parameters, for good."""
    region = regions[name]
    _write(region, fill(regions.model, region))


@contextmanager
def ablated(regions: Regions, name: str, fill: Fill = zero) -> Iterator[None]:
    """Overwrite a region's parameters while the context lasts; they come back bit for bit."""
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
    """The mean activation of each unit of each output."""
    means: dict[nn.Module, Tensor] = {}

    def watch(output: Output):
        def hook(module: nn.Module, args: object, result: Tensor) -> None:
            units = result.movedim(output.axis, -1).flatten(0, -2).mean(0)
            means[module] = units if output.units is None else units[output.units]

        return output.module.register_forward_hook(hook)

    handles = [watch(output) for output in outputs]
    try:
        with torch.no_grad():
            model(batch)
    finally:
        for handle in handles:
            handle.remove()
    return means


def _fresh(owner: nn.Module) -> nn.Module:
    if not callable(getattr(owner, "reset_parameters", None)):
        raise ValueError(f"{type(owner).__name__} has no reset_parameters(); ablate it by zero instead")
    twin = copy.deepcopy(owner)
    twin.reset_parameters()  # type: ignore[operator]
    return twin
