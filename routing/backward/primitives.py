"""Autograd functions that weight gradients per sample and leave the forward value unchanged, bit for bit.

The formula m*h + (1-m)*h.detach() is not used: it changes the last bit for fractional m, turns infinities into nan, and
costs a second pass over the activations.

A weight has the leading dimensions of the tensor it multiplies: (B,) per sample, (B, T) per token, or all dimensions
(size 1 broadcasts) to weight single units. Weights are not differentiated.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

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
