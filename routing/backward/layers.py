"""How a layer weighs its parameters' gradients example by example while its forward value stays what it was.

A linear layer or a convolution weighs rows and columns in its one backward pass. An embedding has nothing upstream
but its parameters, so its output's gradient is weighed. Norms and any other layers are evaluated twice.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from routing.backward.convolution import Shape, weighed_convolution
from routing.backward.parameter_weights import ParameterWeight, weights_of
from routing.backward.primitives import Weights, scale_grads, weighed_linear
from routing.backward.two_pass import Forward, Parameters, evaluated_twice, forward_twice
from routing.selectors import CONVOLUTIONS, EMBEDDINGS, SECOND


def _weights(
    holds: Sequence[ParameterWeight], read: Sequence[int], written: Sequence[int], axis: int
) -> tuple[Weights, Weights, Weights | None]:
    """Weights of rows, of columns, and of the bias (None: as the rows), by the shapes of input and output."""
    rows = [hold for hold in holds if hold.name == "weight" and not hold.piece.reads]
    columns = [hold for hold in holds if hold.piece.reads]
    bias = [hold for hold in holds if hold.name == "bias"]
    alike = [hold.key for hold in rows] == [hold.key for hold in bias]
    of_bias = None if alike else weights_of(bias, written, axis)
    return weights_of(rows, written, axis), weights_of(columns, read, axis), of_bias


def _linear(layer: nn.Linear, holds: Sequence[ParameterWeight], forward: Forward, input: Tensor) -> Tensor:
    weights = _weights(holds, input.shape, (*input.shape[:-1], layer.out_features), -1)
    return weighed_linear(input, layer.weight, layer.bias, *weights)


def _convolution(layer: Any, holds: Sequence[ParameterWeight], forward: Forward, input: Tensor) -> Tensor:
    if layer.padding_mode != "zeros" or isinstance(layer.padding, str) or input.dim() != layer.weight.dim():
        return forward_twice(layer, holds, forward, input)
    weights = _weights(holds, input.shape, (len(input), layer.out_channels, *input.shape[2:]), 1)
    shape = Shape(layer.stride, layer.padding, layer.dilation, False, layer.output_padding, layer.groups)
    return weighed_convolution(input, layer.weight, layer.bias, shape, *weights)


def _norm(layer: Any, holds: Sequence[ParameterWeight], forward: Forward, input: Tensor) -> Tensor:
    parameters = dict(layer.named_parameters())
    evaluate = partial(_NORMS[type(layer).forward], layer)
    return evaluated_twice(evaluate, parameters, holds, 1 if isinstance(layer, SECOND) else -1, input)


def _embedding(layer: nn.Module, holds: Sequence[ParameterWeight], forward: Forward, *args, **kwargs) -> Tensor:
    output = forward(*args, **kwargs)
    return scale_grads(output, weights_of(holds, output.shape, -1))


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


def routed_forward(layer: nn.Module, holds: Sequence[ParameterWeight], forward: Forward, *args, **kwargs) -> Any:
    """The layer's value, its parameters' gradients weighed as `holds` say.

    Args:
        forward: what computes the value; if it is not the layer type's own, the layer is evaluated twice.
    """
    if not holds or not torch.is_grad_enabled():
        return forward(*args, **kwargs)
    own = getattr(forward, "__func__", None)
    return _FORWARDS.get(own, forward_twice)(layer, holds, forward, *args, **kwargs)
