"""A gradient mask leaves the forward pass alone, bit for bit, and weighs the backward pass sample by sample.

Writing m*h + (1-m)*h.detach() instead changes the last bit for fractional m, turns infinities into nan, and costs a
second pass over the activations. Every layer's parameter gradient is a sum over samples, linear in the gradient that
arrives; so weights of samples can act on that gradient for the parameters alone, in one pass over a mixed batch.

A weight has the leading dimensions of the tensor it weighs: (B,) of each sample, (B, T) of each token, or all of
its dimensions (broadcast: 1) to weigh single units. Weights are not differentiated.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

Units = tuple[int, int, int]
"""Start, stop and step of a slice."""


class Weight(NamedTuple):
    """A weight of each sample, for all units of an activation or some."""

    values: Tensor
    units: Units | None = None


Weights = Sequence[Weight]
"""They multiply."""


def given(weight: Tensor | None) -> Weights:
    return () if weight is None else (Weight(weight),)


def aligned(values: Tensor, x: Tensor) -> Tensor:
    """The values with trailing dimensions of 1, so that they broadcast to `x` from the left."""
    return values.reshape(values.shape + (1,) * (x.dim() - values.dim()))


def inside(units: Units, x: Tensor, axis: int) -> Tensor:
    """Which entries of `x` belong to the units along `axis`: a mask that broadcasts to it."""
    chosen = torch.zeros(x.shape[axis], dtype=torch.bool, device=x.device)
    chosen[slice(*units)] = True
    return chosen.reshape([-1 if i == axis % x.dim() else 1 for i in range(x.dim())])


def weighed(grad: Tensor, weights: Weights, axis: int = -1) -> Tensor:
    """`grad` times all weights, each at its own units along `axis`."""
    for values, units in weights:
        factor = aligned(values, grad).to(grad.dtype)
        grad = grad * factor if units is None else _weighed_at(grad, factor, units, axis)
    return grad


def _weighed_at(grad: Tensor, factor: Tensor, units: Units, axis: int) -> Tensor:
    start, stop, step = units
    if step != 1:
        return torch.where(inside(units, grad, axis), grad * factor, grad)
    before, weighed_part, after = grad.split([start, stop - start, grad.shape[axis] - stop], axis)
    return torch.cat([before, weighed_part * factor, after], axis)


def autocast(x: Tensor, W: Tensor, b: Tensor | None) -> tuple[Tensor, Tensor, Tensor | None]:
    """What autocast would do to a matrix product's operands; without autocast, nothing."""
    device = x.device.type
    if not torch.is_autocast_enabled(device) or x.dtype == torch.float64:
        return x, W, b
    dtype = torch.get_autocast_dtype(device)
    return x.to(dtype), W.to(dtype), None if b is None else b.to(dtype)


class _ScaleGrad(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, values: Tensor, units: Units | None, axis: int) -> Tensor:
        return x.view_as(x)

    @staticmethod
    def setup_context(ctx, inputs, output) -> None:
        _, values, ctx.units, ctx.axis = inputs
        ctx.save_for_backward(values)

    @staticmethod
    def backward(ctx, grad):
        return weighed(grad, [Weight(ctx.saved_tensors[0], ctx.units)], ctx.axis), None, None, None


def scale_grad(x: Tensor, weight: Tensor) -> Tensor:
    """Return `x` unchanged; multiply the gradient that flows back through it by `weight`.

    This is the gradient mask of Cloud et al. 2024 (arXiv 2410.04332, section 3), at the level of activations: it
    stops everything upstream of `x`, while weights that read `x` still learn.

    Args:
        x: (B, ...) activations.
        weight: (B,) real weight of each sample, or of more of the leading dimensions of `x`.
    """
    return _ScaleGrad.apply(x, weight, None, -1)


def scale_grads(x: Tensor, weights: Weights, axis: int = -1) -> Tensor:
    """`scale_grad` by several weights, each at its own units along `axis`."""
    for values, units in weights:
        x = _ScaleGrad.apply(x, values, units, axis)
    return x


class Plan(NamedTuple):
    """Which of the weights of a layer are for rows, which for columns, and which for the bias, by their units."""

    rows: tuple[Units | None, ...]
    cols: tuple[Units | None, ...]
    bias: tuple[Units | None, ...]
    alike: bool  # the bias is weighed as the rows are

    def sort(self, values: Sequence[Tensor]) -> tuple[Weights, Weights, Weights]:
        left = iter(values)
        return tuple([Weight(next(left), units) for units in part] for part in self[:3])  # type: ignore[return-value]


def planned(rows: Weights, cols: Weights, bias: Weights | None) -> tuple[Plan, list[Tensor]]:
    """The weights of a layer, the bias's None if they are the rows', as what an autograd function takes."""
    parts = rows, cols, bias or ()
    rows_at, cols_at, bias_at = (tuple(weight.units for weight in part) for part in parts)
    return Plan(rows_at, cols_at, bias_at, bias is None), [weight.values for part in parts for weight in part]


class _Linear(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(value, x, W, b, plan, *values):
        return value.view_as(value)

    @staticmethod
    def setup_context(ctx, inputs, output) -> None:
        _, x, W, _, ctx.plan, *values = inputs
        ctx.save_for_backward(x, W, *values)

    @staticmethod
    def backward(ctx, grad):
        x, W, *values = ctx.saved_tensors
        rows, cols, bias = ctx.plan.sort(values)
        need_x, need_W, need_b = ctx.needs_input_grad[1:4]
        written = weighed(grad, rows)
        grad_x = grad @ W if need_x else None
        grad_W = _flat(written).T @ _flat(weighed(x, cols)) if need_W else None
        grad_b = _flat(written if ctx.plan.alike else weighed(grad, bias)).sum(0) if need_b else None
        return None, grad_x, grad_W, grad_b, None, *(None for _ in values)


def _flat(x: Tensor) -> Tensor:
    """(..., features) -> (samples, features)."""
    return x.reshape(-1, x.shape[-1])


def weighed_linear(
    x: Tensor, W: Tensor, b: Tensor | None, rows: Weights, cols: Weights, bias: Weights | None
) -> Tensor:
    """`routed_linear` by several weights; those of the bias are None if they are the rows'."""
    x_, W_, b_ = autocast(x, W, b)
    plan, values = planned(rows, cols, bias)
    value = functional.linear(
        x_.detach(), W_, b_
    ).detach()  # out here, for its kernel depends on W's need of a gradient
    return _Linear.apply(value, x_, W_, b_, plan, *values)


def routed_linear(
    x: Tensor, W: Tensor, b: Tensor | None = None, rows: Tensor | None = None, cols: Tensor | None = None
) -> Tensor:
    """`torch.nn.functional.linear`, with each sample's contribution to grad_W weighted by row and by column.

    grad_W = (rows * delta)^T (cols * x), grad_b = sum of rows * delta, and grad_x as ever. An entry in a weighted row
    and a weighted column is weighted by their product.

    Args:
        x: (B, ..., in).
        W: (out, in).
        b: (out,) or None.
        rows: weight of the samples, (B,) or (B, ...), or of their outputs, (B, ..., out); None: 1.
        cols: the same of their inputs, up to (B, ..., in); None: 1.

    Returns:
        (B, ..., out), bit for bit that of `linear`.
    """
    return weighed_linear(x, W, b, given(rows), given(cols), None)
