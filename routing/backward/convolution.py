"""A convolution's parameters are routed as a linear layer's are: its rows and columns are channels."""

from typing import NamedTuple

import torch
from torch import Tensor

from routing.backward.primitives import Weights, autocast, planned, weighed


class Shape(NamedTuple):
    """How a convolution of one to three dimensions moves over its input."""

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
        return value.view_as(value)

    @staticmethod
    def setup_context(ctx, inputs, output) -> None:
        _, x, W, _, ctx.shape, ctx.plan, *values = inputs
        ctx.save_for_backward(x, W, *values)

    @staticmethod
    def backward(ctx, grad):
        x, W, *values = ctx.saved_tensors
        rows, cols, bias = ctx.plan.sort(values)
        need_x, need_W, need_b = ctx.needs_input_grad[1:4]

        def pull(delta, inputs, mask):
            return torch.ops.aten.convolution_backward(delta, inputs, W, None, *ctx.shape, mask)

        written = weighed(grad, rows, 1)
        grad_x = pull(grad, x, [True, False, False])[0] if need_x else None
        grad_W = pull(written, weighed(x, cols, 1), [False, True, False])[1] if need_W else None
        pixels = [0, *range(2, grad.dim())]
        grad_b = (written if ctx.plan.alike else weighed(grad, bias, 1)).sum(pixels) if need_b else None
        return None, grad_x, grad_W, grad_b, None, None, *(None for _ in values)


def weighed_convolution(
    x: Tensor, W: Tensor, b: Tensor | None, shape: Shape, rows: Weights, cols: Weights, bias: Weights | None = None
) -> Tensor:
    """A convolution, with each sample's contribution to the gradient of W weighted by output and input channel.

    Args:
        x: (B, in, ...).
        W: (out, in / groups, ...).
        b: (out,) or None.
        rows: weights of the samples, (B,), for output channels.
        cols: for input channels.
        bias: of the bias; None if they are the rows'.

    Returns:
        (B, out, ...), bit for bit that of the convolution.
    """
    x_, W_, b_ = autocast(x, W, b)
    plan, values = planned(rows, cols, bias)
    value = torch.convolution(
        x_.detach(), W_, b_, *shape
    ).detach()  # out here, for its kernel depends on need of gradients
    return _Convolution.apply(value, x_, W_, b_, shape, plan, *values)
