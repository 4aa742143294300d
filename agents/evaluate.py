"""The true return of a policy, as deployed: exact where the world can be enumerated, sampled elsewhere.

Strata are taken by what is watched in the state an episode starts in. That is fixed before the agent acts, so comparing
them is free of the selection that "episodes that ended under the overseer's eye" would carry.
"""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import gymnasium
import numpy as np
import torch
from stable_baselines3.common.policies import ActorCriticPolicy

import envs
from agents.onednn import by_onednn
from agents.policies.blocks import BlockUse
from agents.policies.policy import BlockPolicy

ROWS = 4096  # observations at a time: what a network makes of them stays in a processor's cache


class Evaluation(NamedTuple):
    """Expected values per episode; returns are discounted by the world's gamma."""

    true_return: float
    true_return_seen: float  # nan where no episode starts watched
    true_return_unseen: float  # nan where every episode does
    proxy_return: float
    episode_length: float


class Evaluator(Protocol):
    """Evaluates policies in one world."""

    def __call__(self, policy: ActorCriticPolicy) -> Evaluation:
        """The policy as it acts now."""

    def each(self, policy: BlockPolicy, uses: Sequence[BlockUse]) -> list[Evaluation]:
        """The policy in each of these uses."""


def make_evaluator(env_id: str, seed: int, episodes: int = 4096, **env_kwargs) -> tuple[Evaluator, bool]:
    """An evaluator of policies in one world, and whether it is exact.

    Args:
        seed: of the sampled episodes, the same ones at every call.
        episodes: how many to sample where the world cannot be enumerated.
    """
    try:
        return ExactEvaluator(env_id, **env_kwargs), True
    except envs.NotEnumerable:
        return SampledEvaluator(env_id, seed, episodes, **env_kwargs), False


def action_probabilities(policy: ActorCriticPolicy, observations: torch.Tensor) -> torch.Tensor:
    """(n, *obs) -> (n, A) of a policy over discrete actions."""
    with torch.no_grad():
        return policy.get_distribution(observations).distribution.probs  # type: ignore[union-attr]


class ExactEvaluator:
    """By the tables of the world: no sampling error.

    Raises:
        envs.NotEnumerable: the world is too large, or is not one of tables.
    """

    def __init__(self, env_id: str, **env_kwargs) -> None:
        self.tables = envs.compile_world(gymnasium.make_vec(env_id, num_envs=1, **env_kwargs))
        self.course = envs.exact.Occupancy.of(self.tables)
        self.observations = torch.as_tensor(self.tables.observations).float()

    def __call__(self, policy: ActorCriticPolicy) -> Evaluation:
        with by_onednn():
            found = [action_probabilities(policy, rows) for rows in self._seen_by(policy)]
        return self._evaluation(torch.cat(found))

    def each(self, policy: BlockPolicy, uses: Sequence[BlockUse]) -> list[Evaluation]:
        with by_onednn():
            found = [policy.log_probabilities(rows.flatten(1), uses) for rows in self._seen_by(policy)]
        return [self._evaluation(torch.cat(log_probability).exp()) for log_probability in zip(*found, strict=True)]

    def _seen_by(self, policy: ActorCriticPolicy) -> tuple[torch.Tensor, ...]:
        """All observations, where the policy is, some at a time."""
        self.observations = self.observations.to(policy.device)
        return self.observations.split(ROWS if policy.device.type == "cpu" else len(self.observations))

    def _evaluation(self, probabilities: torch.Tensor) -> Evaluation:
        exact = envs.exact.evaluate_along(self.course, probabilities.double().cpu().numpy())
        strata = exact.true_return_seen, exact.true_return_unseen
        return Evaluation(exact.true_return, *strata, exact.proxy_return, exact.length)


class SampledEvaluator:
    """By the first episode of each of many copies.

    Args:
        seed: of the episodes, the same ones at every call.
        episodes: how many.
    """

    def __init__(self, env_id: str, seed: int, episodes: int, **env_kwargs) -> None:
        self.env = gymnasium.make_vec(env_id, num_envs=episodes, **env_kwargs)
        self.seed, self.episodes = seed, episodes

    def each(self, policy: BlockPolicy, uses: Sequence[BlockUse]) -> list[Evaluation]:
        found = []
        for use in uses:
            with policy.deployed(*use):
                found.append(self(policy))
        return found

    def __call__(self, policy: ActorCriticPolicy) -> Evaluation:
        generator = torch.Generator().manual_seed(self.seed)
        obs, info = self.env.reset(seed=self.seed)
        watched = np.asarray(info["watched"])
        live, discount = np.ones(self.episodes, dtype=bool), 1.0
        true, proxy, length = np.zeros((3, self.episodes))
        while live.any():
            probabilities = action_probabilities(policy, torch.as_tensor(obs, device=policy.device)).cpu()
            actions = torch.multinomial(probabilities, 1, generator=generator).squeeze(-1).numpy()
            obs, reward, terminated, truncated, info = self.env.step(actions)
            true += live * discount * info["true_reward"]
            proxy += live * discount * reward
            length += live
            live &= ~(terminated | truncated)
            discount *= self.env.gamma  # type: ignore[attr-defined]
        strata = _mean(true[watched]), _mean(true[~watched])
        return Evaluation(true.mean(), *strata, proxy.mean(), length.mean())


def _mean(x: np.ndarray) -> float:
    return float(x.mean()) if len(x) else float("nan")
