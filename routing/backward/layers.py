"""Forward passes of layers whose parameter gradients are weighted per example; the forward value is unchanged.

Linear layers and convolutions weight rows and columns in their single backward pass. An embedding has only parameters
upstream of its output, so the gradient of its output is weighted. Norms and all other layers are evaluated twice.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils._pytree import tree_leaves

from routing.backward.batch_axis import CHECKED, check_arguments
from routing.backward.convolution import Shape, weighted_convolution
from routing.backward.linear import weighted_linear
from routing.backward.parameter_weights import ParameterWeight, weights_of
from routing.backward.primitives import Weights, scale_grads
from routing.backward.two_pass import Forward, Parameters, evaluated_twice, forward_twice
from routing.selectors import CONVOLUTIONS, EMBEDDINGS, SECOND


def _weights(
    weights: Sequence[ParameterWeight], input_shape: Sequence[int], output_shape: Sequence[int], axis: int
) -> tuple[Weights, Weights, Weights | None]:
    """Return the weights of rows, of columns, and of the bias (None: as the rows)."""
    rows = [weight for weight in weights if weight.name == "weight" and not weight.piece.reads]
    columns = [weight for weight in weights if weight.piece.reads]
    bias = [weight for weight in weights if weight.name == "bias"]
    bias_as_rows = [weight.key for weight in rows] == [weight.key for weight in bias]
    bias_weights = None if bias_as_rows else weights_of(bias, output_shape, axis)
    return weights_of(rows, output_shape, axis), weights_of(columns, input_shape, axis), bias_weights


def _linear(layer: nn.Linear, weights: Sequence[ParameterWeight], forward: Forward, input: Tensor) -> Tensor:
    if input.is_complex():
        return forward_twice(layer, weights, forward, input)
    parts = _weights(weights, input.shape, (*input.shape[:-1], layer.out_features), -1)
    return weighted_linear(input, layer.weight, layer.bias, *parts)


def _convolution(layer: Any, weights: Sequence[ParameterWeight], forward: Forward, input: Tensor) -> Tensor:
    special = layer.padding_mode != "zeros" or isinstance(layer.padding, str) or input.is_complex()
    if special or input.dim() != layer.weight.dim():
        return forward_twice(layer, weights, forward, input)
    parts = _weights(weights, input.shape, (len(input), layer.out_channels, *input.shape[2:]), 1)
    shape = Shape(layer.stride, layer.padding, layer.dilation, False, layer.output_padding, layer.groups)
    return weighted_convolution(input, layer.weight, layer.bias, shape, *parts)


def _norm(layer: Any, weights: Sequence[ParameterWeight], forward: Forward, input: Tensor) -> Tensor:
    parameters = dict(layer.named_parameters())
    evaluate = partial(_NORMS[type(layer).forward], layer)
    return evaluated_twice(evaluate, parameters, weights, 1 if isinstance(layer, SECOND) else -1, input, fresh=True)


def _embedding(layer: nn.Module, weights: Sequence[ParameterWeight], forward: Forward, *args, **kwargs) -> Tensor:
    if any(leaf.requires_grad for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)):
        return forward_twice(layer, weights, forward, *args, **kwargs)  # per_sample_weights of an EmbeddingBag
    output = forward(*args, **kwargs)
    return scale_grads(output, weights_of(weights, output.shape, -1))


def _layer_norm(layer: nn.LayerNorm, p: Parameters, x: Tensor) -> Tensor:
    return functional.layer_norm(x, layer.normalized_shape, p.get("weight"), p.get("bias"), layer.eps)


def _group_norm(layer: nn.GroupNorm, p: Parameters, x: Tensor) -> Tensor:
    return functional.group_norm(x, layer.num_groups, p.get("weight"), p.get("bias"), layer.eps)


def _rms_norm(layer: nn.RMSNorm, p: Parameters, x: Tensor) -> Tensor:
    return functional.rms_norm(x, layer.normalized_shape, p.get("weight"), layer.eps)


_NORMS: dict[Any, Callable[..., Tensor]] = {
    nn.LayerNorm.forward: _layer_norm,
    nn.GroupNorm.forward: _group_norm,
    nn.RMSNorm.forward: _rms_norm,
}
_FORWARDS: dict[Any, Callable[..., Any]] = {
    nn.Linear.forward: _linear,
    **{kind.forward: _convolution for kind in CONVOLUTIONS},
    **{kind.forward: _embedding for kind in EMBEDDINGS},
    **dict.fromkeys(_NORMS, _norm),
}


def routed_forward(layer: nn.Module, weights: Sequence[ParameterWeight], forward: Forward, *args, **kwargs) -> Any:
    """Compute the layer's value, with weighted parameter gradients.

    Args:
        layer: the layer.
        weights: the weights of its parameters.
        forward: computes the layer's value; if it is not the forward of the layer's class, the layer is evaluated
            twice.
        *args: positional arguments of `forward`.
        **kwargs: keyword arguments of `forward`.

    Returns:
        The result of `forward`, bit-identical.

    Raises:
        ValueError: the layer mixes examples, or the labels do not match its shape.
    """
    if not weights or not torch.is_grad_enabled():
        return forward(*args, **kwargs)
    for weight in weights if isinstance(layer, CHECKED) else ():
        if weight.weight.source(weight.weight.region).dim():
            check_arguments(layer, (args, kwargs), weight.piece.name, weight.weight.batch_dim)
    function = getattr(forward, "__func__", None)
    return _FORWARDS.get(function, forward_twice)(layer, weights, forward, *args, **kwargs)
