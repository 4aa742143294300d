"""Losses of policy, critic and gate, as functions of (B,) tensors.

Unless stated otherwise the result is (B,), without weights.
"""

import torch
from torch import Tensor
from torch.nn import functional


def clipped_surrogate(advantages: Tensor, ratio: Tensor, clip_range: float) -> Tensor:
    """PPO's clipped surrogate loss (Schulman et al. 2017, arXiv 1707.06347, equation 7), negated for descent.

    Args:
        advantages: (B,).
        ratio: (B,) probability of the action under the policy, divided by its probability when it was taken.
        clip_range: epsilon; the ratio is clipped to [1 - epsilon, 1 + epsilon].

    Returns:
        (B,).
    """
    return -torch.min(advantages * ratio, advantages * torch.clamp(ratio, 1 - clip_range, 1 + clip_range))


def mean_squared_error(values: Tensor, returns: Tensor, weights: Tensor) -> Tensor:
    """The critic's loss: weighted mean of squared errors, (B,), (B,), (B,) -> ().

    With unit weights it is Stable-Baselines3's expression: the gradient of a weighted mean is rounded differently.
    """
    if bool((weights == 1).all()):
        return functional.mse_loss(returns, values)
    return (functional.mse_loss(returns, values, reduction="none") * weights).mean()


def gate_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """The gate's loss: binary cross-entropy of good (labels > 0) against bad verdicts, (B,), (B,) -> (B,)."""
    return functional.binary_cross_entropy_with_logits(logits, (labels > 0).to(logits.dtype), reduction="none")


def to_mean_one(weights: Tensor) -> Tensor:
    """Scale weights (B,) to mean 1; weights that are all 0 stay 0."""
    return weights / weights.mean().clamp(min=torch.finfo(weights.dtype).tiny)
