"""Autograd functions that weight gradients per sample and leave the forward value unchanged, bit for bit.

The formula m*h + (1-m)*h.detach() is not used: it changes the last bit for fractional m, turns infinities into nan, and
costs a second pass over the activations. A layer's parameter gradient is a sum over samples, linear in the gradient of
the output. Weighting that gradient for the parameters alone therefore routes a mixed batch in one pass.

A weight has the leading dimensions of the tensor it multiplies: (B,) per sample, (B, T) per token, or all dimensions
(size 1 broadcasts) to weight single units. Weights are not differentiated.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

Units = tuple[int, int, int]
"""Start, stop and step of a slice."""


class Weight(NamedTuple):
    """A weight of each sample, for all units of an activation (None) or for some."""

    values: Tensor
    units: Units | None = None


Weights = Sequence[Weight]
"""Several weights of one tensor; they multiply."""


def as_weights(weight: Tensor | None) -> Weights:
    return () if weight is None else (Weight(weight),)


def check_shape(weight: Tensor, x: Tensor) -> None:
    """Raise ValueError if a weight has neither the leading dimensions of `x` nor all of them, up to sizes of 1."""
    leading = tuple(x.shape[: weight.dim()])
    full = weight.dim() == x.dim() > 1 and all(w in (1, n) for w, n in zip(weight.shape, x.shape, strict=True))
    if tuple(weight.shape) != leading and not full:
        raise ValueError(
            f"a weight of shape {tuple(weight.shape)} does not match an activation of shape {tuple(x.shape)}; "
            "give one weight for each example, (B,), or for more of the leading dimensions"
        )


def aligned(values: Tensor, x: Tensor) -> Tensor:
    """Append trailing dimensions of size 1 to the values, so that they broadcast to `x` from the left."""
    return values.reshape(values.shape + (1,) * (x.dim() - values.dim()))


def unit_mask(units: Units, x: Tensor, axis: int) -> Tensor:
    """Build a mask, broadcastable to `x`, of the entries that belong to the units along `axis`."""
    mask = torch.zeros(x.shape[axis], dtype=torch.bool, device=x.device)
    mask[slice(*units)] = True
    return mask.reshape([-1 if i == axis % x.dim() else 1 for i in range(x.dim())])


def apply_weights(grad: Tensor, weights: Weights, axis: int = -1) -> Tensor:
    """Multiply `grad` by all weights, each at its own units along `axis`."""
    for values, units in weights:
        factor = aligned(values, grad).to(grad.dtype)
        grad = grad * factor if units is None else _weighted_at(grad, factor, units, axis)
    return grad


def _weighted_at(grad: Tensor, factor: Tensor, units: Units, axis: int) -> Tensor:
    start, stop, step = units
    if step != 1:
        return torch.where(unit_mask(units, grad, axis), grad * factor, grad)
    before, inner, after = grad.split([start, stop - start, grad.shape[axis] - stop], axis)
    return torch.cat([before, inner * factor, after], axis)


def autocast(x: Tensor, W: Tensor, b: Tensor | None) -> tuple[Tensor, Tensor, Tensor | None]:
    """Cast the operands of a matrix product as autocast does; without autocast return them unchanged."""
    device = x.device.type
    if not torch.is_autocast_enabled(device) or x.dtype == torch.float64:
        return x, W, b
    dtype = torch.get_autocast_dtype(device)
    return x.to(dtype), W.to(dtype), None if b is None else b.to(dtype)


def is_differentiable(x: Tensor) -> bool:
    """Return whether tensors of this type can have a gradient."""
    return x.is_floating_point() or x.is_complex()


class _ScaleGrad(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, values: Tensor, units: Units | None, axis: int) -> Tensor:
        return x.view_as(x)  # a view, so that torch rejects an in-place operation, which would change x too

    @staticmethod
    def setup_context(ctx, inputs, output) -> None:
        _, values, ctx.units, ctx.axis = inputs
        ctx.save_for_backward(values)

    @staticmethod
    def backward(ctx, grad):
        return apply_weights(grad, [Weight(ctx.saved_tensors[0], ctx.units)], ctx.axis), None, None, None


def scale_grad(x: Tensor, weight: Tensor) -> Tensor:
    """Return `x` unchanged and multiply the gradient that flows back through it by `weight`.

    This is the gradient mask of Cloud et al. 2024 (arXiv 2410.04332, section 3) on activations. A weight of 0 stops
    learning upstream of `x`; parameters that read `x` still learn.

    Args:
        x: (B, ...) activations.
        weight: (B,) real weight of each sample, or a weight for more of the leading dimensions of `x`.

    Returns:
        (B, ...), equal to `x`.

    Raises:
        ValueError: the shape of `weight` is not that of the leading dimensions of `x`.
    """
    check_shape(weight, x)
    return _ScaleGrad.apply(x, weight, None, -1)


def scale_grads(x: Tensor, weights: Weights, axis: int = -1) -> Tensor:
    """Apply `scale_grad` for several weights, each at its own units along `axis`."""
    for values, units in weights:
        x = _ScaleGrad.apply(x, values, units, axis)
    return x


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
