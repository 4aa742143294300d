"""Relearning: fine-tunes a deployed policy on the proxy reward alone, to see how soon removed behaviour comes back.

Behaviour that is only suppressed comes back within few updates, behaviour that was never learned needs as many as a
fresh policy (Shilov et al. 2025, arXiv 2512.05648, measure unlearning in this way). The policy is fine-tuned as it is
deployed: an ablated expert stays ablated, fixed coefficients stay fixed.
"""

import sys
from collections.abc import Callable

import numpy as np
import torch
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import Logger

from agents.learners.nan_guard import check_finite_parameters
from agents.learners.ppo import PROXY, RoutedPPO
from agents.policies.blocks import BlockUse
from agents.policies.policy import BlockPolicy
from routing import find

POINTS = 25  # evaluations after the first
ARCHITECTURE = ("network", "head", "level", "optimizer")  # parts of an arm that its fine-tuning keeps

Visit = Callable[[int, BlockPolicy], None]
"""Receives the number of updates done and the policy, which acts as it is deployed."""


def relearning_method(method: str) -> str:
    """Return the method of the fine-tuning of an arm: the proxy reward on all samples, in the arm's architecture."""
    composition = find(method)
    parts = dict(composition.names)
    kinds = [*ARCHITECTURE, *(["masks"] if composition.network.name == "conditioned" else [])]  # which are its input
    return f"{PROXY}({','.join(f'{kind}={parts[kind]}' for kind in kinds)})"


def visited_updates(updates: int) -> list[int]:
    """Return 0 and at most `POINTS` numbers of updates up to `updates`, evenly spaced on a logarithmic scale.

    Most of the change is in the first updates, so equal ratios resolve it better than equal distances.
    """
    return [0, *np.unique(np.geomspace(1, updates, POINTS).round().astype(int)).tolist()]


def relearn(model: RoutedPPO, policy: BlockPolicy, use: BlockUse, updates: int, visit: Visit) -> None:
    """Fine-tune a copy of a deployed policy.

    One update is a rollout with all optimiser steps on it. Step size and entropy weight keep their values of the start
    of training.

    Args:
        model: a fresh learner of the method that `relearning_method` returns; its policy becomes the copy.
        policy: the deployed policy; it is not changed.
        use: how its blocks are used.
        updates: number of updates.
        visit: called before the first update and after those of `visited_updates`.
    """
    model.policy.load_state_dict(policy.state_dict())
    fix_use(model.policy, use)
    model.set_logger(Logger(folder=None, output_formats=[]))
    model.learn(sys.maxsize, callback=_Updates(updates, visit))


def fix_use(policy: BlockPolicy, use: BlockUse) -> None:
    """Make a use part of a policy: it then acts, learns and is evaluated in it, whatever masks or use it is given."""
    blocks = policy.mlp_extractor
    latents = blocks.latents

    def latent(features: torch.Tensor, masks: torch.Tensor | None = None) -> torch.Tensor:
        return latents(features, [use])[0]

    blocks.forward_actor = latent  # type: ignore[method-assign]
    blocks.latents = lambda features, uses: [latent(features)] * len(uses)  # type: ignore[method-assign]


class _Updates(BaseCallback):
    """Stops training after a number of updates.

    Args:
        count: number of updates.
        visit: see `relearn`.
    """

    def __init__(self, count: int, visit: Visit) -> None:
        super().__init__()
        self.count, self.visit = count, visit
        self.due = visited_updates(count)
        self.done = 0

    def _on_rollout_start(self) -> None:
        check_finite_parameters(self.model.policy, self.done)
        if self.done in self.due:
            self.visit(self.done, self.model.policy)  # type: ignore[arg-type]

    def _on_rollout_end(self) -> None:
        self.done += 1

    def _on_step(self) -> bool:
        return self.done < self.count
