"""The levels of gradient routing: which outputs and parameters of a region each level weights."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial

from torch import Tensor, nn
from torch.utils._pytree import tree_map_only

from routing.backward.forward_patch import Release, hook_output, weight_parameter
from routing.backward.parameter_weights import ParameterWeight, Source, bounds, check_weights
from routing.backward.primitives import Weight, Weights, aligned, scale_grads, unit_mask
from routing.selectors import Output, Piece, Region

Attach = Callable[[], Release]
"""Starts weighting when a router is entered; returns a function that ends it."""


def _activation(model: nn.Module, name: str, region: Region, source: Source) -> list[Attach]:
    return [partial(_attach_output, output, scale_grads, name, source) for output in _outputs(model, name, region)]


def _ablated(model: nn.Module, name: str, region: Region, source: Source) -> list[Attach]:
    outputs = [partial(_attach_output, output, _zero, name, source) for output in _outputs(model, name, region)]
    return [*_parameter(model, name, region, source), *outputs]


def _parameter(model: nn.Module, name: str, region: Region, source: Source) -> list[Attach]:
    return _parameter_weights(model, name, region.pieces, source)


def _rows(model: nn.Module, name: str, region: Region, source: Source) -> list[Attach]:
    rows = [piece for piece in region.pieces if not piece.reads]
    if any(piece.units is None for piece in rows):
        raise ValueError(
            f"region {name!r} contains whole parameters, not rows; select units(...) or use level 'parameter'"
        )
    return _parameter_weights(model, name, rows, source)


def _columns(model: nn.Module, name: str, region: Region, source: Source) -> list[Attach]:
    columns = [piece for piece in region.pieces if piece.reads]
    if not columns:
        raise ValueError(f"region {name!r} contains no columns; select units(..., out=...) or choose another level")
    return _parameter_weights(model, name, columns, source)


LEVELS: dict[str, Callable[[nn.Module, str, Region, Source], list[Attach]]] = {
    "activation": _activation,
    "parameter": _parameter,
    "rows": _rows,
    "columns": _columns,
    "forward_ablated": _ablated,
}


def _outputs(model: nn.Module, name: str, region: Region) -> tuple[Output, ...]:
    if not region.outputs:
        raise ValueError(f"region {name!r} contains no activations, only parameters; use level 'parameter'")
    attentions = [layer for layer in model.modules() if isinstance(layer, nn.MultiheadAttention)]
    uncalled = {child for layer in attentions for child in layer.modules() if child is not layer}
    for output in region.outputs:
        if output.module in uncalled or isinstance(output.module, nn.RNNBase):
            kind = type(output.module).__name__
            raise ValueError(
                f"{output.path!r} is a {kind}, which returns no (B, ...) activation; route the layer that reads it"
            )
    return region.outputs


def _zero(x: Tensor, weights: Weights, axis: int) -> Tensor:
    """Return `x` with 0 at the units of examples of weight 0."""
    for values, units in weights:
        masked = aligned(values == 0, x)
        x = x.masked_fill(masked if units is None else masked & unit_mask(units, x, axis), 0.0)
    return x


def _attach_output(output: Output, act: Callable[[Tensor, Weights, int], Tensor], name: str, source: Source) -> Release:
    """Apply `act` to the output, with its weights, in each forward pass."""

    def weight_output(x: Tensor) -> Tensor:
        if not x.is_floating_point():
            return x
        values = check_weights(source(name), x.shape, output.axis, f"the output of {output.path!r}")
        return act(x, [Weight(values, bounds(output.units))], output.axis)

    return hook_output(output.module, partial(tree_map_only, Tensor, weight_output))


def _parameter_weights(model: nn.Module, name: str, pieces: Sequence[Piece], source: Source) -> list[Attach]:
    return [
        partial(weight_parameter, layer, ParameterWeight(local, piece, source, name))
        for piece in pieces
        for layer, local in _users(model, piece)
    ]


def _users(model: nn.Module, piece: Piece) -> Iterator[tuple[nn.Module, str]]:
    """Yield each layer that computes with a parameter and the parameter's name there; several if it is tied."""
    uncalled: set[nn.Module] = set()
    for layer in model.modules():
        if layer in uncalled:
            continue
        whole = isinstance(layer, nn.MultiheadAttention)  # reads its children's parameters without calling them
        uncalled.update(layer.modules() if whole else ())
        for name, parameter in layer.named_parameters(recurse=whole, remove_duplicate=False):
            if parameter is piece.parameter:
                if isinstance(layer, nn.RNNBase):
                    kind = type(layer).__name__
                    raise ValueError(
                        f"{piece.name!r} belongs to a {kind}, which mixes time steps; route the layer that reads it"
                    )
                yield layer, name
