"""The levels of gradient routing: which outputs and parameters of a region each level weights."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten, tree_unflatten

from routing.backward.batch_axis import CHECKED, check_arguments, check_batch_first
from routing.backward.forward_patch import Release, hook_output, weight_parameter
from routing.backward.parameter_weights import ParameterWeight, RegionWeight, bounds
from routing.backward.primitives import Weight, Weights, aligned, is_differentiable, scale_grads, unit_mask
from routing.backward.residual import ResidualCheck
from routing.selectors import Output, Piece, Region

PLAIN = (type(None), bool, int, float, str)

Attach = Callable[[], Release]
"""Starts weighting when a router is entered; returns a function that ends it."""


def _activation(model: nn.Module, region: Region, weight: RegionWeight) -> list[Attach]:
    return [partial(_attach_output, output, scale_grads, weight) for output in _outputs(model, region, weight)]


def _ablated(model: nn.Module, region: Region, weight: RegionWeight) -> list[Attach]:
    outputs = _outputs(model, region, weight)
    attached = [partial(_attach_output, output, _zero, weight, _residual_check(output)) for output in outputs]
    return [*_parameter(model, region, weight), *attached]


def _parameter(model: nn.Module, region: Region, weight: RegionWeight) -> list[Attach]:
    return _parameter_weights(model, region.pieces, weight)


def _rows(model: nn.Module, region: Region, weight: RegionWeight) -> list[Attach]:
    rows = [piece for piece in region.pieces if not piece.reads]
    if any(piece.units is None for piece in rows):
        raise ValueError(
            f"region {weight.region!r} contains whole parameters, not rows; select units(...) or use level 'parameter'"
        )
    return _parameter_weights(model, rows, weight)


def _columns(model: nn.Module, region: Region, weight: RegionWeight) -> list[Attach]:
    columns = [piece for piece in region.pieces if piece.reads]
    if not columns:
        raise ValueError(
            f"region {weight.region!r} contains no columns; select units(..., out=...) or choose another level"
        )
    return _parameter_weights(model, columns, weight)


LEVELS: dict[str, Callable[[nn.Module, Region, RegionWeight], list[Attach]]] = {
    "activation": _activation,
    "parameter": _parameter,
    "rows": _rows,
    "columns": _columns,
    "forward_ablated": _ablated,
}


def _outputs(model: nn.Module, region: Region, weight: RegionWeight) -> tuple[Output, ...]:
    if not region.outputs:
        raise ValueError(f"region {weight.region!r} contains no activations, only parameters; use level 'parameter'")
    attentions = [layer for layer in model.modules() if isinstance(layer, nn.MultiheadAttention)]
    uncalled = {child for layer in attentions for child in layer.modules() if child is not layer}
    for output in region.outputs:
        if output.module in uncalled or isinstance(output.module, nn.RNNBase):
            kind = type(output.module).__name__
            raise ValueError(
                f"{output.path!r} is a {kind}, which returns no (B, ...) activation; route the layer that reads it"
            )
        check_patchable(output.module, output.path)
        check_batch_first(model, output.module, output.path, weight.batch_dim)
    return region.outputs


def _residual_check(output: Output) -> ResidualCheck | None:
    """Return a check for a module with submodules; a single layer has no residual connection."""
    return ResidualCheck(output.path) if next(output.module.children(), None) is not None else None


def _zero(x: Tensor, weights: Weights, axis: int) -> Tensor:
    """Return `x` with 0 at the units of examples of weight 0."""
    for values, units in weights:
        masked = aligned(values == 0, x)
        x = x.masked_fill(masked if units is None else masked & unit_mask(units, x, axis), 0.0)
    return x


def _attach_output(
    output: Output,
    act: Callable[[Tensor, Weights, int], Tensor],
    weight: RegionWeight,
    check: ResidualCheck | None = None,
) -> Release:
    """Apply `act` to the output, with its weights, in each forward pass."""

    def weight_leaf(x: Any, weight: RegionWeight) -> Any:
        if not isinstance(x, Tensor):
            if isinstance(x, PLAIN):
                return x
            raise ValueError(f"{output.path!r} returns a {type(x).__name__}; route a layer that returns tensors")
        if not is_differentiable(x):
            return x
        values = weight.values(x.shape, output.axis, f"the output of {output.path!r}")
        return act(x, [Weight(values, bounds(output.units))], output.axis)

    def hook(result: Any, arguments: Any) -> Any:
        if check is not None:
            check(result, arguments)
        if isinstance(output.module, CHECKED) and weight.source(weight.region).dim():
            check_arguments(output.module, arguments, output.path, weight.batch_dim)
        if isinstance(result, Tensor):
            return weight_leaf(result, weight)
        leaves, structure = tree_flatten(result)
        weights = [weight] * len(leaves)
        if isinstance(output.module, nn.MultiheadAttention):
            weights[1:] = [weight._replace(batch_dim=0)] * (len(leaves) - 1)  # attention weights are always (B, T, S)
        return tree_unflatten([weight_leaf(*pair) for pair in zip(leaves, weights, strict=True)], structure)

    return hook_output(output.module, hook, None if check is None else check.prepare)


def _parameter_weights(model: nn.Module, pieces: Sequence[Piece], weight: RegionWeight) -> list[Attach]:
    attached: list[Attach] = []
    for piece in pieces:
        for layer, local in _users(model, piece):
            check_layer(layer, local, piece)
            check_batch_first(model, layer, piece.name, weight.batch_dim)
            attached.append(partial(weight_parameter, layer, ParameterWeight(local, piece, weight)))
    return attached


def check_patchable(layer: nn.Module, path: str) -> None:
    """Raise ValueError if the forward of a layer cannot be replaced on the instance."""
    if isinstance(layer, torch.jit.ScriptModule):
        raise ValueError(
            f"{path!r} belongs to a scripted module, which cannot be routed; route the module before scripting"
        )


def check_layer(layer: nn.Module, local: str, piece: Piece) -> None:
    """Raise ValueError if a parameter of a layer has no separate gradient for each example that could be weighted."""
    kind, path = type(layer).__name__, piece.name
    check_patchable(layer, path)
    if isinstance(layer, nn.RNNBase):
        raise ValueError(f"{path!r} belongs to a {kind}, which mixes time steps; route the layer that reads it")
    if getattr(layer, "scale_grad_by_freq", False):
        raise ValueError(
            f"{path!r} belongs to a {kind} with scale_grad_by_freq=True, whose gradient depends on the other examples; "
            "set it to False"
        )
    computed = [name for name, value in piece.owner.__dict__.items() if isinstance(value, Tensor)]
    if any(piece.local.startswith(f"{name}_") for name in computed):
        raise ValueError(
            f"{path!r} is the source of a weight that a hook computes (weight_norm, spectral_norm or pruning); "
            "remove it, or route the layer's activation"
        )


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
                yield layer, name
