"""Builds a learner from plain numbers and names."""

from functools import partial

import torch

from agents.learners.ppo import RoutedPPO
from agents.learners.reinforce import RoutedReinforce
from agents.policies.blocks import Precision
from agents.policies.policy import BlockPolicy
from agents.vec_env import GymnasiumVecEnv
from routing import find


def decayed(learning_rate: float, decay_from: float, remaining: float) -> float:
    """Compute a learning rate that is constant at first and then falls linearly to 0.

    Args:
        learning_rate: rate of the constant part.
        decay_from: fraction of the run, in [0, 1), after which the rate falls.
        remaining: fraction of the run that remains; it falls from 1 to 0.
    """
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
    """Build a learner whose experts, gate and critic have two hidden layers of `width` units.

    Args:
        env: N copies of an environment with an overseer.
        method: name of an oversight method in `routing.METHODS`.
        seed: of the initial parameters, of the actions and of the method.
        algorithm: a key of `LEARNERS`.
        n_steps: T, steps of each copy between two updates.
        batch_size: samples in a minibatch of ppo. None, or more than T * N, means all samples of the rollout.
        width: units of each hidden layer.
        precision: of matrix products; see `BlockPolicy`.
        gamma: discount factor; None takes the environment's.
        learning_rate: Adam's step size.
        decay_from: fraction of the run after which the step size falls linearly to 0; 1 keeps it constant.
        whole_episodes: only for reinforce; see `RoutedReinforce`.
        device: of the networks.
        **settings: other arguments of `RoutedPPO`.

    Returns:
        The learner, ready for `learn`.

    Raises:
        ValueError: the method is unknown.
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
            "optimizer_kwargs": {"eps": 1e-5, "fused": algorithm == "reinforce"},  # ppo keeps Stable-Baselines3's Adam
        },
        device=device,
        **settings,
    )
