"""The true return of a policy, as deployed: exact where the world can be enumerated, sampled elsewhere.

Strata are taken by what is watched in the state an episode starts in. That is fixed before the agent acts, so comparing
them is free of the selection that "episodes that ended under the overseer's eye" would carry.
"""

from collections.abc import Callable
from typing import NamedTuple

import gymnasium
import numpy as np
import torch
from stable_baselines3.common.policies import ActorCriticPolicy

import envs


class Evaluation(NamedTuple):
    """Expected values per episode; returns are discounted by the world's gamma."""

    true_return: float
    true_return_seen: float  # nan where no episode starts watched
    true_return_unseen: float  # nan where every episode does
    proxy_return: float
    episode_length: float


Evaluator = Callable[[ActorCriticPolicy], Evaluation]


def make_evaluator(env_id: str, seed: int, episodes: int = 4096, **env_kwargs) -> tuple[Evaluator, bool]:
    """An evaluator of policies in one world, and whether it is exact.

    Args:
        seed: of the sampled episodes, the same ones at every call.
        episodes: how many to sample where the world cannot be enumerated.
    """
    try:
        return exact_evaluator(env_id, **env_kwargs), True
    except envs.NotEnumerable:
        return sampled_evaluator(env_id, seed, episodes, **env_kwargs), False


def action_probabilities(policy: ActorCriticPolicy, observations: torch.Tensor) -> torch.Tensor:
    """(n, *obs) -> (n, A) of a policy over discrete actions."""
    with torch.no_grad():
        return policy.get_distribution(observations).distribution.probs  # type: ignore[union-attr]


def exact_evaluator(env_id: str, **env_kwargs) -> Evaluator:
    """By the tables of the world: no sampling error.

    Raises:
        envs.NotEnumerable: the world is too large, or is not one of tables.
    """
    tables = envs.compile_world(gymnasium.make_vec(env_id, num_envs=1, **env_kwargs))
    observations = torch.as_tensor(tables.observations, dtype=torch.float32)  # once, not at every look

    def evaluate(policy: ActorCriticPolicy) -> Evaluation:
        probabilities = action_probabilities(policy, observations.to(policy.device)).double().cpu().numpy()
        exact = envs.exact.evaluate(tables, probabilities)
        strata = exact.true_return_seen, exact.true_return_unseen
        return Evaluation(exact.true_return, *strata, exact.proxy_return, exact.length)

    return evaluate


def sampled_evaluator(env_id: str, seed: int, episodes: int, **env_kwargs) -> Evaluator:
    """By the first episode of each of many copies."""
    env = gymnasium.make_vec(env_id, num_envs=episodes, **env_kwargs)
    gamma = env.gamma  # type: ignore[attr-defined]

    def evaluate(policy: ActorCriticPolicy) -> Evaluation:
        generator = torch.Generator().manual_seed(seed)
        obs, info = env.reset(seed=seed)
        watched = np.asarray(info["watched"])
        live, discount = np.ones(episodes, dtype=bool), 1.0
        true, proxy, length = np.zeros((3, episodes))
        while live.any():
            probabilities = action_probabilities(policy, torch.as_tensor(obs, device=policy.device)).cpu()
            actions = torch.multinomial(probabilities, 1, generator=generator).squeeze(-1).numpy()
            obs, reward, terminated, truncated, info = env.step(actions)
            true += live * discount * info["true_reward"]
            proxy += live * discount * reward
            length += live
            live &= ~(terminated | truncated)
            discount *= gamma
        strata = _mean(true[watched]), _mean(true[~watched])
        return Evaluation(true.mean(), *strata, proxy.mean(), length.mean())

    return evaluate


def _mean(x: np.ndarray) -> float:
    return float(x.mean()) if len(x) else float("nan")
