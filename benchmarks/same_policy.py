"""Training time of our PPO relative to Stable-Baselines3's.

One step of work is an environment step with its share of rollout and update, in a Gymnasium environment with an
overseer. Given the same policy, two experts and a gate, the rest of the difference is the overseer and the method; the
ratio must be at most `LIMIT`. Stable-Baselines3's `MlpPolicy` has one network where ours has three.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from stable_baselines3 import PPO

import agents
import envs
from agents import BlockPolicy
from benchmarks.harness.figures import Figure
from benchmarks.harness.paired import Effort, Workload, measure_ratio
from benchmarks.learners import rollout_and_update

UNIT = "CPU time relative to the reference"
LIMIT = 1.15  # with the same policy
WIDTH, COPIES = [64, 64], 64
SETTINGS: dict[str, Any] = {"n_steps": 32, "batch_size": 512, "n_epochs": 4, "seed": 0, "device": "cpu"}
WORLDS = {"CartPole-v1": "bench/CartPole-v0", "Pendulum-v1": "bench/Pendulum-v0"}


def measure(effort: Effort) -> Iterator[Figure]:
    """Compare in an environment with discrete actions and in one with continuous ones."""
    for inner, world in WORLDS.items():
        envs.overseen(world, inner, overseer_view=_terminated, judgement=[np.nan, -1.0])
        for policy in (BlockPolicy, "MlpPolicy"):
            name = policy if isinstance(policy, str) else policy.__name__
            ratio = measure_ratio(ours(world), stock(world, policy), effort.rounds, effort.seconds)
            yield Figure.of_cost(f"ppo / SB3's with {name}, {inner}", ratio)


def _terminated(step: envs.OverseenStep) -> np.ndarray:
    return step.terminated.astype(int)


def ours(world: str) -> Workload:
    """A rollout and its update by our PPO, untreated."""
    env = agents.make_vec_env(world, COPIES)
    network = {"net_arch": WIDTH, "activation_fn": torch.nn.ReLU}
    return rollout_and_update(agents.RoutedPPO(BlockPolicy, env, method="proxy", policy_kwargs=network, **SETTINGS))


def stock(world: str, policy: Any) -> Workload:
    """A rollout and its update by Stable-Baselines3's PPO."""
    env = agents.make_vec_env(world, COPIES)
    return rollout_and_update(
        PPO(policy, env, policy_kwargs={"net_arch": WIDTH, "activation_fn": torch.nn.ReLU}, **SETTINGS)
    )
