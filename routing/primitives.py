"""A gradient mask is an identity forward and a weighted backward.

The forward value is the input itself, bit for bit. Writing m*h + (1-m)*h.detach() instead changes the last bit for
fractional m, turns infinities into nan, and costs a second pass over the activations.
"""

import torch


class _ScaleGrad(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        return x.view_as(x)

    @staticmethod
    def setup_context(ctx, inputs, output) -> None:
        ctx.save_for_backward(inputs[1])

    @staticmethod
    def backward(ctx, grad):
        (weight,) = ctx.saved_tensors
        return grad * weight, None


def scale_grad(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Return `x` unchanged; multiply the gradient that flows back through it by `weight`.

    This is the gradient mask of Cloud et al. 2024 (arXiv 2410.04332, section 3), at the level of activations: it
    stops everything upstream of `x`, while weights that read `x` still learn.

    Args:
        x: (B, ...) activations.
        weight: (B,) real weight of each sample; not differentiated. Of fewer dimensions than `x`, it is
            broadcast from the left; it must have the dtype and device of `x`.
    """
    missing = x.dim() - weight.dim()
    return _ScaleGrad.apply(x, weight.reshape(weight.shape + (1,) * missing))
