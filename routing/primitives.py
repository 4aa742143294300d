"""A gradient mask leaves the forward pass alone, bit for bit, and weighs the backward pass sample by sample.

Writing m*h + (1-m)*h.detach() instead changes the last bit for fractional m, turns infinities into nan, and costs a
second pass over the activations. Every layer's parameter gradient is a sum over samples, linear in the gradient that
arrives; so weights of samples can act on that gradient for the parameters alone, in one pass over a mixed batch.

A weight has the leading dimensions of the tensor it weighs: (B,) of each sample, (B, T) of each token, or all of
its dimensions (broadcast: 1) to weigh single units. Weights are not differentiated.
"""

import torch
from torch.nn import functional

Tensor = torch.Tensor


def _aligned(weight: Tensor, x: Tensor) -> Tensor:
    """The weight with trailing dimensions of 1, so that it broadcasts from the left."""
    return weight.reshape(weight.shape + (1,) * (x.dim() - weight.dim()))


def weighed(grad: Tensor, weight: Tensor | None) -> Tensor:
    """`grad` times the weight; without a weight, `grad` itself."""
    return grad if weight is None else grad * _aligned(weight, grad).to(grad.dtype)


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
    def forward(x: Tensor, weight: Tensor) -> Tensor:
        return x.view_as(x)

    @staticmethod
    def setup_context(ctx, inputs, output) -> None:
        ctx.save_for_backward(inputs[1])

    @staticmethod
    def backward(ctx, grad):
        return weighed(grad, ctx.saved_tensors[0]), None


def scale_grad(x: Tensor, weight: Tensor) -> Tensor:
    """Return `x` unchanged; multiply the gradient that flows back through it by `weight`.

    This is the gradient mask of Cloud et al. 2024 (arXiv 2410.04332, section 3), at the level of activations: it
    stops everything upstream of `x`, while weights that read `x` still learn.

    Args:
        x: (B, ...) activations.
        weight: (B,) real weight of each sample, or of more of the leading dimensions of `x`.
    """
    return _ScaleGrad.apply(x, weight)


class _Join(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(upstream: Tensor, twin: Tensor, weight: Tensor) -> Tensor:
        return twin.view_as(twin)

    @staticmethod
    def setup_context(ctx, inputs, output) -> None:
        ctx.save_for_backward(inputs[2])

    @staticmethod
    def backward(ctx, grad):
        return grad, weighed(grad, ctx.saved_tensors[0]), None


def join(upstream: Tensor, twin: Tensor, weight: Tensor) -> Tensor:
    """Return `twin`; the gradient flows back whole into `upstream`, and multiplied by `weight` into `twin`.

    With upstream = f(x, theta.detach()) and twin = f(x.detach(), theta) this weighs each sample's contribution to the
    gradient of theta and leaves that of x alone, for any f that treats samples separately, at the price of
    one more forward pass of f.

    Args:
        upstream, twin: (B, ...), equal in value.
        weight: (B,), or of more of the leading dimensions of `twin`.
    """
    return _Join.apply(upstream, twin, weight)


class _StopGrad(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        return x.view_as(x)

    @staticmethod
    def setup_context(ctx, inputs, output) -> None:
        pass

    @staticmethod
    def backward(ctx, grad):
        return None


def stop_grad(x: Tensor) -> Tensor:
    """Return `x`, cut from the graph but still one that requires a gradient: kernels are chosen by that."""
    return _StopGrad.apply(x)


class _Linear(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(value, x, W, b, rows, cols, bias, alike):
        return value.view_as(value)

    @staticmethod
    def setup_context(ctx, inputs, output) -> None:
        _, x, W, _, rows, cols, bias, ctx.alike = inputs
        ctx.save_for_backward(x, W, rows, cols, bias)

    @staticmethod
    def backward(ctx, grad):
        x, W, rows, cols, bias = ctx.saved_tensors
        need_x, need_W, need_b = ctx.needs_input_grad[1:4]
        written = weighed(grad, rows)
        grad_x = grad @ W if need_x else None
        grad_W = _flat(written).T @ _flat(weighed(x, cols)) if need_W else None
        grad_b = _flat(written if ctx.alike else weighed(grad, bias)).sum(0) if need_b else None
        return None, grad_x, grad_W, grad_b, None, None, None, None


def _flat(x: Tensor) -> Tensor:
    """(..., features) -> (samples, features)."""
    return x.reshape(-1, x.shape[-1])


def linear_with_bias_weights(
    x: Tensor, W: Tensor, b: Tensor | None, rows: Tensor | None, cols: Tensor | None, bias: Tensor | None
) -> Tensor:
    """`routed_linear` whose bias has weights of its own."""
    x_, W_, b_ = autocast(x, W, b)
    value = functional.linear(
        x_.detach(), W_, b_
    ).detach()  # outside, for the kernel depends on whether W needs a gradient
    alike = bias is rows
    return _Linear.apply(value, x_, W_, b_, rows, cols, None if alike else bias, alike)


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
    return linear_with_bias_weights(x, W, b, rows, cols, rows)
