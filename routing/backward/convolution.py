"""Convolutions with per-sample weights on parameter gradients; rows are output channels, columns input channels."""

from typing import NamedTuple

import torch
from torch import Tensor

from routing.backward.linear import autocast, weight_plan
from routing.backward.primitives import Weights, apply_weights


class Shape(NamedTuple):
    """The geometry of a convolution of one to three dimensions, in the argument order of `torch.convolution`."""

    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    transposed: bool
    output_padding: tuple[int, ...]
    groups: int


class _Convolution(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(value, x, W, b, shape, plan, *values):
        return value.detach()  # not a view, so that the next layer can change the new tensor in place

    @staticmethod
    def setup_context(ctx, inputs, output) -> None:
        _, x, W, _, ctx.shape, ctx.plan, *values = inputs
        ctx.save_for_backward(x, W, *values)

    @staticmethod
    def backward(ctx, grad):
        x, W, *values = ctx.saved_tensors
        rows, cols, bias = ctx.plan.sort(values)
        need_x, need_W, need_b = ctx.needs_input_grad[1:4]

        def convolution_gradients(delta, inputs, mask):
            return torch.ops.aten.convolution_backward(delta, inputs, W, None, *ctx.shape, mask)

        written = apply_weights(grad, rows, 1)
        grad_x = None
        if need_x and torch.is_grad_enabled():  # create_graph=True
            grad_x = _input_gradient(grad, x, W, ctx.shape, rows, cols)
        elif need_x:
            grad_x = convolution_gradients(grad, x, [True, False, False])[0]
        grad_W = convolution_gradients(written, apply_weights(x, cols, 1), [False, True, False])[1] if need_W else None
        pixels = [0, *range(2, grad.dim())]
        grad_b = (written if ctx.plan.bias_as_rows else apply_weights(grad, bias, 1)).sum(pixels) if need_b else None
        return None, grad_x, grad_W, grad_b, None, None, *(None for _ in values)


def _input_gradient(grad: Tensor, x: Tensor, W: Tensor, shape: Shape, rows: Weights, cols: Weights) -> Tensor:
    """Compute the gradient of x as a convolution of grad, whose own gradient of W is weighted again."""
    missing = [0] * len(shape.stride)
    if not shape.transposed:  # a stride can leave entries at the end of x that no window covers
        moves = zip(grad.shape[2:], shape.stride, shape.padding, shape.dilation, W.shape[2:], strict=True)
        covered = [
            (n - 1) * stride - 2 * padding + dilation * (kernel - 1) + 1
            for n, stride, padding, dilation, kernel in moves
        ]
        missing = [n - m for n, m in zip(x.shape[2:], covered, strict=True)]
    inverse = shape._replace(transposed=not shape.transposed, output_padding=tuple(missing))
    return weighted_convolution(grad, W, None, inverse, cols, rows)


def weighted_convolution(
    x: Tensor, W: Tensor, b: Tensor | None, shape: Shape, rows: Weights, cols: Weights, bias: Weights | None = None
) -> Tensor:
    """Compute a convolution with each sample's contribution to grad_W weighted by output and input channel.

    Args:
        x: (B, in, ...).
        W: (out, in / groups, ...).
        b: (out,) or None.
        shape: stride, padding, dilation and groups.
        rows: (B,) weights for output channels.
        cols: (B,) weights for input channels.
        bias: (B,) weights for the bias; None: as the rows.

    Returns:
        (B, out, ...), bit-identical to `torch.convolution`.
    """
    x_, W_, b_ = autocast(x, W, b)
    plan, values = weight_plan(rows, cols, bias)
    # computed outside the function, because torch selects the kernel by whether W requires a gradient
    value = torch.convolution(x_.detach(), W_, b_, *shape).detach()
    return _Convolution.apply(value, x_, W_, b_, shape, plan, *values)
