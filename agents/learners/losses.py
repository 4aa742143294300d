"""Per-sample losses: functions of (B,) tensors to a (B,) tensor. Weights and means are the caller's."""

import torch
from torch import Tensor
from torch.nn import functional


def clipped_surrogate(advantages: Tensor, ratio: Tensor, clip_range: float) -> Tensor:
    """PPO's loss (Schulman et al. 2017, equation 7): (B,), (B,) -> (B,)."""
    return -torch.min(advantages * ratio, advantages * torch.clamp(ratio, 1 - clip_range, 1 + clip_range))


def squared_error(values: Tensor, returns: Tensor) -> Tensor:
    """The critic's loss: (B,), (B,) -> (B,)."""
    return functional.mse_loss(returns, values, reduction="none")


def gate_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """The gate's loss: it tells good verdicts from bad, (B,), (B,) -> (B,)."""
    return functional.binary_cross_entropy_with_logits(logits, (labels > 0).to(logits.dtype), reduction="none")


def normalise(advantages: Tensor, baselined: Tensor) -> Tensor:
    """Advantages of zero mean and unit standard deviation.

    Samples without a critic baseline are only scaled: the mean of the others would be a baseline in disguise.

    Args:
        advantages: (B,).
        baselined: (B,) bool.
    """
    reference = advantages[baselined]
    if len(reference) < 2:
        return advantages
    centred = advantages - reference.mean()
    return torch.where(baselined, centred, advantages) / (reference.std() + 1e-8)
