"""Growing a network by units that can be routed to, and taking them out again.

Expand, route, ablate, contract (Cloud et al. 2024, arXiv 2410.04332, section 4.2). All of it edits parameters in place:
they stay the same objects, so optimisers, wrappers and regions keep hold of them. A graph of before, such as a loss
that is still held, cannot be mixed with one of after, and DistributedDataParallel remembers shapes, so wrap
afterwards. Name regions anew: slices have moved.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from routing.regions import Regions
from routing.selectors import READERS, Part, Piece, find_module, units

Optimizer = torch.optim.Optimizer
WIDTHS = {0: ("out_features", "out_channels"), 1: ("in_features", "in_channels")}  # axis of a weight -> its size's name


def expand(
    model: nn.Module, path: str, count: int, out: str | Sequence[str], optimizer: Optimizer | None = None
) -> Part:
    """Add units to a hidden layer, without changing what the network computes but for rounding.

    Their rows start as a new layer's would, from the global generator; the columns that read them start at 0.

    Args:
        path: a linear layer or an ungrouped convolution; between it and `out` units must not mix.
        count: how many units to add, after the others.
        out: the layers that read them.
        optimizer: its state is grown by zeros.

    Returns:
        The new units, to be named in `Regions`.

    Raises:
        ValueError: a layer is of another kind, or does not read what the other writes.
    """
    layer = find_module(model, path)
    if not isinstance(layer, READERS) or getattr(layer, "groups", 1) != 1:
        raise ValueError(f"{path!r} cannot grow, for it is {layer}; name a linear layer or an ungrouped convolution")
    before = layer.weight.shape[0]
    columns = [piece for piece in units(path, slice(0, before), out)(model).pieces if piece.reads]
    bound = layer.weight[0].numel() ** -0.5  # torch's own layers start so
    for parameter in layer.parameters(recurse=False):
        _grow(parameter, 0, parameter.new_empty(count, *parameter.shape[1:]).uniform_(-bound, bound), optimizer)
    for parameter in (piece.parameter for piece in columns):
        _grow(parameter, 1, parameter.new_zeros(len(parameter), count, *parameter.shape[2:]), optimizer)
    _set_widths([(layer, 0), *((piece.owner, 1) for piece in columns)])
    return units(path, slice(before, before + count), out)


def contract(regions: Regions, name: str, optimizer: Optimizer | None = None) -> None:
    """Take the units of a region out of the network: their rows, and the columns that read them.

    Args:
        name: a region made of `units`, all of whose readers it names.
        optimizer: its state of what remains is kept.

    Raises:
        ValueError: the region is not made of units alone.
    """
    pieces = regions[name].pieces
    if any(piece.units is None for piece in pieces) or not any(piece.reads for piece in pieces):
        raise ValueError(f"region {name!r} is not made of units; contract takes regions of units(path, slice, out=...)")
    for piece in pieces:
        _edit(piece.parameter, optimizer, partial(_without, piece))
    _set_widths([(piece.owner, piece.axis) for piece in pieces])


def _without(piece: Piece, tensor: Tensor) -> Tensor:
    kept = torch.ones(tensor.shape[piece.axis], dtype=torch.bool, device=tensor.device)
    kept[piece.units] = False
    return tensor.index_select(piece.axis, kept.nonzero().squeeze(1))


def _grow(parameter: nn.Parameter, axis: int, new: Tensor, optimizer: Optimizer | None) -> None:
    value = torch.cat([parameter.detach(), new], axis)
    _edit(parameter, optimizer, lambda tensor: torch.cat([tensor, torch.zeros_like(new, dtype=tensor.dtype)], axis))
    parameter.data = value


def _edit(parameter: nn.Parameter, optimizer: Optimizer | None, change: Callable[[Tensor], Tensor]) -> None:
    """Change the shape of a parameter and of all that an optimiser keeps of that shape."""
    state = {} if optimizer is None else optimizer.state.get(parameter, {})
    for key, kept in state.items():
        if isinstance(kept, Tensor) and kept.shape == parameter.shape:
            state[key] = change(kept)
    parameter.data = change(parameter.detach())
    parameter.grad = None


def _set_widths(layers: Iterable[tuple[nn.Module, int]]) -> None:
    for layer, axis in layers:
        for name in WIDTHS[axis]:
            if name in layer.__dict__:
                setattr(layer, name, layer.weight.shape[axis])  # type: ignore[index]
