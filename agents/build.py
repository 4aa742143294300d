"""A learner from plain numbers."""

from functools import partial

import torch

from agents.learners.ppo import RoutedPPO
from agents.learners.reinforce import RoutedReinforce
from agents.policies.blocks import Precision
from agents.policies.policy import BlockPolicy
from agents.vec_env import GymnasiumVecEnv
from routing import find


def decayed(learning_rate: float, decay_from: float, remaining: float) -> float:
    """Constant until the part `decay_from` of the run is done, then linear to 0; `remaining` falls from 1 to 0."""
    return learning_rate * min(1.0, remaining / (1 - decay_from))


LEARNERS: dict[str, type[RoutedPPO]] = {"reinforce": RoutedReinforce, "ppo": RoutedPPO}


def build(
    env: GymnasiumVecEnv,
    method: str,
    seed: int,
    *,
    algorithm: str = "reinforce",
    n_steps: int = 32,
    batch_size: int | None = None,
    width: int = 64,
    precision: Precision = "fp32",
    gamma: float | None = None,
    learning_rate: float = 2e-3,
    decay_from: float = 1.0,
    whole_episodes: bool = False,
    device: str = "cpu",
    **settings,
) -> RoutedPPO:
    """A learner whose experts, gate and critic have two hidden layers of `width` units.

    Args:
        algorithm: one of `LEARNERS`.
        n_steps: steps of each copy between updates.
        learning_rate, decay_from: Adam's step size, and the part of the run after which it falls linearly to 0.
        batch_size: samples of a minibatch of ppo; None, or more than there are: all of a rollout.
        gamma: discount; None for the environment's own.
        precision: of matrix products; see `BlockPolicy`.
        whole_episodes: of reinforce; see `RoutedReinforce`.
        **settings: RoutedPPO's other arguments, except the number of copies, which `env` has.
    """
    layers, samples = [width, width], env.num_envs * n_steps
    if algorithm == "reinforce":
        settings["whole_episodes"] = whole_episodes
    return LEARNERS[algorithm](
        BlockPolicy,
        env,
        method=method,
        seed=seed,
        n_steps=n_steps,
        batch_size=min(batch_size or samples, samples) if algorithm == "ppo" else samples,
        learning_rate=learning_rate if decay_from == 1 else partial(decayed, learning_rate, decay_from),
        gamma=env.env.gamma if gamma is None else gamma,  # type: ignore[attr-defined]
        policy_kwargs={
            "net_arch": {"pi": layers, "vf": layers},
            "activation_fn": torch.nn.ReLU,
            "gated": find(method).gated,
            "level": find(method).level,
            "precision": precision,
            "optimizer_kwargs": {"eps": 1e-5, "fused": algorithm == "reinforce"},  # ppo's is Stable-Baselines3's own
        },
        device=device,
        **settings,
    )
