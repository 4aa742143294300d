"""Actions of a policy, drawn with a generator of the caller's from any of Stable-Baselines3's action distributions."""

from typing import Any

import numpy as np
import torch
from gymnasium.spaces import Box
from stable_baselines3.common.distributions import (
    BernoulliDistribution,
    CategoricalDistribution,
    DiagGaussianDistribution,
    Distribution,
    MultiCategoricalDistribution,
    SquashedDiagGaussianDistribution,
    StateDependentNoiseDistribution,
)
from stable_baselines3.common.policies import ActorCriticPolicy


def draw_actions(
    policy: ActorCriticPolicy, distribution: Distribution, generator: torch.Generator | None
) -> np.ndarray:
    """Draw actions as the environment takes them: Gaussian ones are clipped to the Box, as Stable-Baselines3 does.

    Args:
        policy: acts.
        distribution: over the policy's actions for n observations.
        generator: draws the actions, on the CPU; None takes the most probable ones.

    Returns:
        (n, *action) of the action space's dtype.
    """
    with torch.no_grad():
        chosen = distribution.mode() if generator is None else draw_from(distribution, generator)
    return to_environment(policy, chosen.detach().cpu().numpy())


def draw_from(distribution: Distribution, generator: torch.Generator) -> torch.Tensor:
    """Draw from a distribution of (n, ...) actions on the CPU, so that the draws do not depend on the device.

    Raises:
        ValueError: the kind of the distribution is unknown.
    """
    inner: Any = distribution.distribution
    if isinstance(distribution, CategoricalDistribution):
        return _draw(inner, generator)
    if isinstance(distribution, MultiCategoricalDistribution):
        return torch.stack([_draw(part, generator) for part in inner], 1)
    if isinstance(distribution, BernoulliDistribution):
        return torch.bernoulli(inner.probs.cpu(), generator=generator)
    if isinstance(distribution, DiagGaussianDistribution | StateDependentNoiseDistribution):
        mean, deviation = inner.mean.cpu(), inner.stddev.cpu()
        drawn = mean + deviation * torch.randn(mean.shape, generator=generator)
        bijector = getattr(distribution, "bijector", None)
        squashed = isinstance(distribution, SquashedDiagGaussianDistribution)
        return torch.tanh(drawn) if squashed else drawn if bijector is None else bijector.forward(drawn)
    raise ValueError(
        f"cannot draw from {type(distribution).__name__}; use one of Stable-Baselines3's action distributions"
    )


def _draw(categorical: Any, generator: torch.Generator) -> torch.Tensor:
    """(n,) int of (n, A) probabilities."""
    return torch.multinomial(categorical.probs.cpu(), 1, generator=generator).squeeze(-1)


def to_environment(policy: ActorCriticPolicy, actions: np.ndarray) -> np.ndarray:
    """Convert actions of a distribution to those of the environment, (n, *action), as `policy.predict` does."""
    space = policy.action_space
    actions = actions.reshape(-1, *space.shape)  # type: ignore[misc]  # no policy acts in a Dict space
    if isinstance(space, Box):
        actions = policy.unscale_action(actions) if policy.squash_output else np.clip(actions, space.low, space.high)
    return actions.astype(space.dtype, copy=False)
