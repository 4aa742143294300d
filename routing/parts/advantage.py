"""Normalisation of advantages: (advantages (B,), baselined (B,) bool) -> (B,), on tensors.

Samples without a critic baseline are only scaled: subtracting the mean of the others would be a baseline too. The
learner's `normalize_advantage=False` turns normalisation off for every arm.
"""

from torch import Tensor

from routing.oversight.parts import part


def _deviation(advantages: Tensor, baselined: Tensor) -> Tensor | None:
    """The standard deviation of the baselined samples, or of all if fewer than two are; None for fewer than two."""
    chosen = advantages[baselined]
    chosen = chosen if len(chosen) > 1 else advantages
    return chosen.std() + 1e-8 if len(chosen) > 1 else None


@part("advantage")
def centred(advantages: Tensor, baselined: Tensor) -> Tensor:
    """Subtract the mean of baselined samples from these, and divide all by their standard deviation."""
    deviation = _deviation(advantages, baselined)
    if deviation is None:
        return advantages
    if not baselined.any():
        return advantages / deviation
    return advantages.where(~baselined, advantages - advantages[baselined].mean()) / deviation


@part("advantage")
def scaled(advantages: Tensor, baselined: Tensor) -> Tensor:
    """Divide by the standard deviation; no mean is subtracted, so no sample shifts the advantage of another."""
    deviation = _deviation(advantages, baselined)
    return advantages if deviation is None else advantages / deviation


@part("advantage")
def none(advantages: Tensor, baselined: Tensor) -> Tensor:
    """Leave advantages as they are."""
    return advantages
