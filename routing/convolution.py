"""A convolution's parameters are routed as a linear layer's are: its rows and columns are channels."""

import torch

from routing.primitives import Tensor, autocast, weighed


class _Convolution(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(value, x, W, b, rows, cols, bias, alike, how):
        return value.view_as(value)

    @staticmethod
    def setup_context(ctx, inputs, output) -> None:
        _, x, W, _, rows, cols, bias, ctx.alike, ctx.how = inputs
        ctx.save_for_backward(x, W, rows, cols, bias)

    @staticmethod
    def backward(ctx, grad):
        x, W, rows, cols, bias = ctx.saved_tensors
        need_x, need_W, need_b = ctx.needs_input_grad[1:4]

        def pull(delta, inputs, mask):
            return torch.ops.aten.convolution_backward(delta, inputs, W, None, *ctx.how, mask)

        grad_x = pull(grad, x, [True, False, False])[0] if need_x else None
        written = weighed(grad, rows)
        grad_W = pull(written, weighed(x, cols), [False, True, False])[1] if need_W else None
        pixels = [0, *range(2, grad.dim())]
        grad_b = (written if ctx.alike else weighed(grad, bias)).sum(pixels) if need_b else None
        return None, grad_x, grad_W, grad_b, None, None, None, None, None


def routed_convolution(
    x: Tensor,
    W: Tensor,
    b: Tensor | None = None,
    rows: Tensor | None = None,
    cols: Tensor | None = None,
    bias: Tensor | None = None,
    *,
    stride: tuple[int, ...],
    padding: tuple[int, ...],
    dilation: tuple[int, ...],
    groups: int = 1,
) -> Tensor:
    """A convolution in one to three dimensions, routed as `routed_linear` is; rows and columns are channels.

    Args:
        x: (B, in, ...).
        W: (out, in / groups, ...).
        b: (out,) or None.
        rows, cols: (B,), or per channel (B, out, 1...) and (B, in, 1...); None: 1.
        bias: as `rows`, of the bias alone.

    Returns:
        (B, out, ...).
    """
    how = (stride, padding, dilation, False, (0,) * len(stride), groups)
    x_, W_, b_ = autocast(x, W, b)
    value = torch.convolution(
        x_.detach(), W_, b_, *how
    ).detach()  # outside, for the kernel depends on need of gradients
    alike = bias is rows
    return _Convolution.apply(value, x_, W_, b_, rows, cols, None if alike else bias, alike, how)
