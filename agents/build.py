"""A learner from plain numbers."""

import torch

from agents.policy import BlockPolicy
from agents.ppo import RoutedPPO
from agents.reinforce import RoutedReinforce
from agents.vec_env import GymnasiumVecEnv
from routing import find

LEARNERS: dict[str, type[RoutedPPO]] = {"reinforce": RoutedReinforce, "ppo": RoutedPPO}


def build(
    env: GymnasiumVecEnv,
    method: str,
    seed: int,
    *,
    algorithm: str = "reinforce",
    n_steps: int = 64,
    batch_size: int | None = None,
    width: int = 64,
    gamma: float | None = None,
    device: str = "cpu",
    **settings,
) -> RoutedPPO:
    """A learner whose experts, gate and critic have two hidden layers of `width` units.

    Args:
        algorithm: one of `LEARNERS`.
        n_steps: steps of each copy between updates.
        batch_size: samples of a minibatch of ppo; None, or more than there are: all of a rollout.
        gamma: discount; None for the environment's own.
        **settings: RoutedPPO's other arguments, except the number of copies, which `env` has.
    """
    layers, samples = [width, width], env.num_envs * n_steps
    return LEARNERS[algorithm](
        BlockPolicy,
        env,
        method=method,
        seed=seed,
        n_steps=n_steps,
        batch_size=min(batch_size or samples, samples) if algorithm == "ppo" else samples,
        gamma=env.env.gamma if gamma is None else gamma,  # type: ignore[attr-defined]
        policy_kwargs={
            "net_arch": {"pi": layers, "vf": layers},
            "activation_fn": torch.nn.ReLU,
            "gated": find(method).gated,
            "level": find(method).level,
        },
        device=device,
        **settings,
    )
