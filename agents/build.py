"""A learner from plain numbers."""

import torch

from agents.policy import BlockPolicy
from agents.ppo import RoutedPPO
from agents.vec_env import GymnasiumVecEnv
from routing import find


def build(
    env: GymnasiumVecEnv,
    method: str,
    seed: int,
    *,
    width: int = 64,
    gamma: float | None = None,
    device: str = "cpu",
    **settings,
) -> RoutedPPO:
    """A `RoutedPPO` whose experts, gate and critic have two hidden layers of `width` units.

    Args:
        gamma: discount; None for the environment's own.
        **settings: RoutedPPO's other arguments, except the number of copies, which `env` has.
    """
    layers = [width, width]
    return RoutedPPO(
        BlockPolicy,
        env,
        method=method,
        seed=seed,
        gamma=env.env.gamma if gamma is None else gamma,  # type: ignore[attr-defined]
        policy_kwargs={
            "net_arch": {"pi": layers, "vf": layers},
            "activation_fn": torch.nn.ReLU,
            "gated": find(method).gated,
        },
        device=device,
        **settings,
    )
