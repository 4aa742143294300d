"""Add units to a network and remove units from it (Cloud et al. 2024, arXiv 2410.04332, section 4.2).

The paper's sequence is expand, route, ablate, contract. Parameters are edited in place and remain the same objects, so
references in optimisers, wrappers and regions stay valid. An autograd graph built before the edit cannot be used after
it. DistributedDataParallel caches shapes, so wrap the model afterwards. Build `Regions` again, because unit indices
have changed.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from routing.regions import Regions
from routing.selectors import READERS, Part, Piece, find_module, units

Optimizer = torch.optim.Optimizer
WIDTHS = {
    0: ("out_features", "out_channels"),
    1: ("in_features", "in_channels"),
}  # axis of the weight -> attributes that store its size


def expand(
    model: nn.Module, path: str, count: int, out: str | Sequence[str], optimizer: Optimizer | None = None
) -> Part:
    """Add units to a hidden layer without changing the network's output, up to rounding.

    The new rows are initialised as in a new layer, from the global generator. The columns that read them start at 0.

    Args:
        model: edited in place.
        path: a linear layer or an ungrouped convolution; the operations between it and `out` must not mix units.
        count: the number of units to append.
        out: the layers that read the units.
        optimizer: if given, its state is extended by zeros.

    Returns:
        The new units as a part for `Regions`.

    Raises:
        ValueError: a layer is of another kind, or a reader's number of inputs is not the layer's number of units.
    """
    layer = find_module(model, path)
    if not isinstance(layer, READERS) or getattr(layer, "groups", 1) != 1:
        raise ValueError(f"{path!r} cannot be expanded: it is {layer}; name a linear layer or an ungrouped convolution")
    before = layer.weight.shape[0]
    columns = [piece for piece in units(path, slice(0, before), out)(model).pieces if piece.reads]
    bound = layer.weight[0].numel() ** -0.5  # the initialisation of torch's own layers
    for parameter in layer.parameters(recurse=False):
        _grow(parameter, 0, parameter.new_empty(count, *parameter.shape[1:]).uniform_(-bound, bound), optimizer)
    for parameter in (piece.parameter for piece in columns):
        _grow(parameter, 1, parameter.new_zeros(len(parameter), count, *parameter.shape[2:]), optimizer)
    _set_widths([(layer, 0), *((piece.owner, 1) for piece in columns)])
    return units(path, slice(before, before + count), out)


def contract(regions: Regions, name: str, optimizer: Optimizer | None = None) -> None:
    """Remove the units of a region from the network: their rows and the columns that read them.

    Args:
        regions: the regions of the model, which is edited in place.
        name: a region made of `units` that names every reader of those units.
        optimizer: if given, its state of the remaining entries is preserved.

    Raises:
        ValueError: the region is unknown or is not made of units alone.
    """
    pieces = regions[name].pieces
    if any(piece.units is None for piece in pieces) or not any(piece.reads for piece in pieces):
        raise ValueError(f"region {name!r} is not made of units; contract takes regions of units(path, slice, out=...)")
    for piece in pieces:
        _edit(piece.parameter, optimizer, partial(_without, piece))
    _set_widths([(piece.owner, piece.axis) for piece in pieces])


def _without(piece: Piece, tensor: Tensor) -> Tensor:
    remaining = torch.ones(tensor.shape[piece.axis], dtype=torch.bool, device=tensor.device)
    remaining[piece.units] = False
    return tensor.index_select(piece.axis, remaining.nonzero().squeeze(1))


def _grow(parameter: nn.Parameter, axis: int, new: Tensor, optimizer: Optimizer | None) -> None:
    value = torch.cat([parameter.detach(), new], axis)
    _edit(parameter, optimizer, lambda tensor: torch.cat([tensor, torch.zeros_like(new, dtype=tensor.dtype)], axis))
    parameter.data = value


def _edit(parameter: nn.Parameter, optimizer: Optimizer | None, change: Callable[[Tensor], Tensor]) -> None:
    """Change the shape of a parameter and of the optimiser state that has its shape."""
    state = {} if optimizer is None else optimizer.state.get(parameter, {})
    for key, value in state.items():
        if isinstance(value, Tensor) and value.shape == parameter.shape:
            state[key] = change(value)
    parameter.data = change(parameter.detach())
    parameter.grad = None


def _set_widths(layers: Iterable[tuple[nn.Module, int]]) -> None:
    for layer, axis in layers:
        for name in WIDTHS[axis]:
            if name in layer.__dict__:
                setattr(layer, name, layer.weight.shape[axis])  # type: ignore[index]
