"""Where each level of gradient routing takes hold of a network: on a region's outputs, or on its parameters."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial

from torch import Tensor, nn
from torch.utils._pytree import tree_map_only

from routing.backward.forward_patch import Release, hook_output, weight_parameter
from routing.backward.parameter_weights import ParameterWeight, Source, bounds, check_weights
from routing.backward.primitives import Weight, Weights, aligned, inside, scale_grads
from routing.selectors import Output, Piece, Region

Attach = Callable[[], Release]


def _activation(model: nn.Module, name: str, region: Region, source: Source) -> list[Attach]:
    return [partial(_act, output, scale_grads, name, source) for output in _outputs(model, name, region)]


def _ablated(model: nn.Module, name: str, region: Region, source: Source) -> list[Attach]:
    outputs = [partial(_act, output, _zero, name, source) for output in _outputs(model, name, region)]
    return [*_parameter(model, name, region, source), *outputs]


def _parameter(model: nn.Module, name: str, region: Region, source: Source) -> list[Attach]:
    return _holds(model, name, region.pieces, source)


def _rows(model: nn.Module, name: str, region: Region, source: Source) -> list[Attach]:
    rows = [piece for piece in region.pieces if not piece.reads]
    if any(piece.units is None for piece in rows):
        raise ValueError(
            f"region {name!r} holds whole parameters, not rows; make it of units(...), or use level 'parameter'"
        )
    return _holds(model, name, rows, source)


def _columns(model: nn.Module, name: str, region: Region, source: Source) -> list[Attach]:
    columns = [piece for piece in region.pieces if piece.reads]
    if not columns:
        raise ValueError(f"region {name!r} has no columns; make it of units(..., out=...) or choose another level")
    return _holds(model, name, columns, source)


LEVELS: dict[str, Callable[[nn.Module, str, Region, Source], list[Attach]]] = {
    "activation": _activation,
    "parameter": _parameter,
    "rows": _rows,
    "columns": _columns,
    "forward_ablated": _ablated,
}


def _outputs(model: nn.Module, name: str, region: Region) -> tuple[Output, ...]:
    if not region.outputs:
        raise ValueError(f"region {name!r} has no activations, only parameters; use level 'parameter'")
    attentions = [layer for layer in model.modules() if isinstance(layer, nn.MultiheadAttention)]
    uncalled = {child for layer in attentions for child in layer.modules() if child is not layer}
    for output in region.outputs:
        if output.module in uncalled or isinstance(output.module, nn.RNNBase):
            kind = type(output.module).__name__
            raise ValueError(f"{output.path!r}, a {kind}, returns no (B, ...) activation; route what reads it")
    return region.outputs


def _zero(x: Tensor, weights: Weights, axis: int) -> Tensor:
    """`x`, and 0 at the units whose weight is 0."""
    for values, units in weights:
        off = aligned(values == 0, x)
        x = x.masked_fill(off if units is None else off & inside(units, x, axis), 0.0)
    return x


def _act(output: Output, act: Callable[[Tensor, Weights, int], Tensor], name: str, source: Source) -> Release:
    """Act on the output's gradient or value in each forward pass."""

    def weigh(x: Tensor) -> Tensor:
        if not x.is_floating_point():
            return x
        values = check_weights(source(name), x.shape, output.axis, f"the output of {output.path!r}")
        return act(x, [Weight(values, bounds(output.units))], output.axis)

    return hook_output(output.module, partial(tree_map_only, Tensor, weigh))


def _holds(model: nn.Module, name: str, pieces: Sequence[Piece], source: Source) -> list[Attach]:
    return [
        partial(weight_parameter, layer, ParameterWeight(local, piece, source, name))
        for piece in pieces
        for layer, local in _users(model, piece)
    ]


def _users(model: nn.Module, piece: Piece) -> Iterator[tuple[nn.Module, str]]:
    """The layers that compute with a parameter, and its name there; several if it is tied."""
    inside: set[nn.Module] = set()
    for layer in model.modules():
        if layer in inside:
            continue
        whole = isinstance(layer, nn.MultiheadAttention)  # it reads its children's parameters and does not call them
        inside.update(layer.modules() if whole else ())
        for name, parameter in layer.named_parameters(recurse=whole, remove_duplicate=False):
            if parameter is piece.parameter:
                if isinstance(layer, nn.RNNBase):
                    kind = type(layer).__name__
                    raise ValueError(f"{piece.name!r} belongs to a {kind}, whose steps mix; route what reads it")
                yield layer, name
