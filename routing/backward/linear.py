"""Linear layers whose parameter gradients are weighted per sample, by row and by column.

A layer's parameter gradient is a sum over samples, linear in the gradient of the output. Weighting that gradient for
the parameters alone therefore routes a mixed batch in one pass.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from routing.backward.primitives import Units, Weight, Weights, apply_weights, as_weights, check_shape


class WeightPlan(NamedTuple):
    """The units of a layer's weights: those of rows, of columns and of the bias, in the order of their values."""

    rows: tuple[Units | None, ...]
    cols: tuple[Units | None, ...]
    bias: tuple[Units | None, ...]
    bias_as_rows: bool  # the bias has the weights of the rows

    def sort(self, values: Sequence[Tensor]) -> tuple[Weights, Weights, Weights]:
        """Split values into the weights of rows, of columns and of the bias."""
        remaining = iter(values)
        return tuple([Weight(next(remaining), units) for units in part] for part in self[:3])  # type: ignore[return-value]


def weight_plan(rows: Weights, cols: Weights, bias: Weights | None) -> tuple[WeightPlan, list[Tensor]]:
    """Convert the weights of a layer (bias None: as the rows) to the arguments of an autograd function."""
    parts = rows, cols, bias or ()
    row_units, col_units, bias_units = (tuple(weight.units for weight in part) for part in parts)
    return WeightPlan(row_units, col_units, bias_units, bias is None), [
        weight.values for part in parts for weight in part
    ]


class _Linear(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(value, x, W, b, plan, *values):
        return value.detach()  # not a view, so that the next layer can change the new tensor in place

    @staticmethod
    def setup_context(ctx, inputs, output) -> None:
        _, x, W, _, ctx.plan, *values = inputs
        ctx.save_for_backward(x, W, *values)

    @staticmethod
    def backward(ctx, grad):
        x, W, *values = ctx.saved_tensors
        rows, cols, bias = ctx.plan.sort(values)
        need_x, need_W, need_b = ctx.needs_input_grad[1:4]
        written = apply_weights(grad, rows)
        grad_x = _input_gradient(grad, W, ctx.plan, rows, cols) if need_x else None
        grad_W = _flat(written).T @ _flat(apply_weights(x, cols)) if need_W else None
        grad_b = _flat(written if ctx.plan.bias_as_rows else apply_weights(grad, bias)).sum(0) if need_b else None
        return None, grad_x, grad_W, grad_b, None, *(None for _ in values)


def _input_gradient(grad: Tensor, W: Tensor, plan: WeightPlan, rows: Weights, cols: Weights) -> Tensor:
    """Compute grad @ W; if that is differentiated again, the gradient of W is weighted there too."""
    if not torch.is_grad_enabled():
        return grad @ W
    plan, values = weight_plan(cols, rows, None)
    return _Linear.apply(grad.detach() @ W.detach(), grad, W.T, None, plan, *values)


def _flat(x: Tensor) -> Tensor:
    """Reshape (..., features) to (samples, features)."""
    return x.reshape(-1, x.shape[-1])


def weighted_linear(
    x: Tensor, W: Tensor, b: Tensor | None, rows: Weights, cols: Weights, bias: Weights | None
) -> Tensor:
    """`routed_linear` with several weights of rows, columns and bias (None: as the rows)."""
    x_, W_, b_ = autocast(x, W, b)
    plan, values = weight_plan(rows, cols, bias)
    # computed outside the function, because torch selects the kernel by whether W requires a gradient
    value = functional.linear(x_.detach(), W_, b_).detach()
    return _Linear.apply(value, x_, W_, b_, plan, *values)


def routed_linear(
    x: Tensor, W: Tensor, b: Tensor | None = None, rows: Tensor | None = None, cols: Tensor | None = None
) -> Tensor:
    """Compute `torch.nn.functional.linear` with each sample's contribution to grad_W weighted by row and column.

    With delta the gradient of the output, grad_W = (rows * delta)^T (cols * x), grad_b is the sum of rows * delta, and
    grad_x is unchanged. An entry in a weighted row and a weighted column is multiplied by both weights.

    Args:
        x: (B, ..., in).
        W: (out, in).
        b: (out,) or None.
        rows: weights of samples, (B,) or (B, ...), or of their outputs, (B, ..., out); None: 1.
        cols: weights of samples, (B,) or (B, ...), or of their inputs, (B, ..., in); None: 1.

    Returns:
        (B, ..., out), bit-identical to `linear`.

    Raises:
        ValueError: the shape of a weight is not that of the leading dimensions of what it multiplies.
    """
    for weight, size in ((rows, W.shape[0]), (cols, W.shape[1])):
        if weight is not None:
            check_shape(weight, x[..., :1].expand(*x.shape[:-1], size))
    return weighted_linear(x, W, b, as_weights(rows), as_weights(cols), None)


def autocast(x: Tensor, W: Tensor, b: Tensor | None) -> tuple[Tensor, Tensor, Tensor | None]:
    """Cast the operands of a matrix product as autocast does; without autocast return them unchanged."""
    device = x.device.type
    if not torch.is_autocast_enabled(device) or x.dtype == torch.float64:
        return x, W, b
    dtype = torch.get_autocast_dtype(device)
    return x.to(dtype), W.to(dtype), None if b is None else b.to(dtype)
