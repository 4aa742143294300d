"""Proximal policy optimisation that asks its networks no more than it must.

With one step on a rollout the policy that learns is the one that acted, and masks are not needed before the backward
pass: so what was computed while acting is kept for it, and each sample has one forward pass and not two. Episodes that
ran out of time have their values from the critic all at once; Stable-Baselines3 asks for each by itself.
"""

from collections.abc import Iterator

import numpy as np
import torch

from agents.learners.buffer import RoutedSamples
from agents.learners.ppo import RoutedPPO
from agents.policies.policy import Evaluated
from routing import BLOCKS


class OnePassPPO(RoutedPPO):
    """`RoutedPPO`, to rounding."""

    def _setup_model(self) -> None:
        super()._setup_model()
        self.acted: list[Evaluated] = []  # step by step; empty: nothing was kept
        if self.env is not None:
            self.rollout_buffer.critic = self._critic

    def _excluded_save_params(self) -> list[str]:
        return [*super()._excluded_save_params(), "acted"]

    def collect_rollouts(self, env, callback, rollout_buffer, n_rollout_steps: int) -> bool:
        """Step the environment; if one step is made on it all, keep what acting computes."""
        env.tell_timeouts = False  # for this rollout: the environment may be another learner's afterwards
        try:
            return self._collect(env, callback, rollout_buffer, n_rollout_steps)
        finally:
            env.tell_timeouts = True

    def _collect(self, env, callback, rollout_buffer, n_rollout_steps: int) -> bool:
        one_step = self.n_epochs == 1 and self.batch_size >= n_rollout_steps * env.num_envs
        if not one_step or self.policy.level == "forward_ablated":  # which reads the masks as it acts
            return super().collect_rollouts(env, callback, rollout_buffer, n_rollout_steps)
        masks = torch.ones(n_rollout_steps, env.num_envs, len(BLOCKS), device=self.device)
        with self.policy.kept(masks) as self.acted:
            going = super().collect_rollouts(env, callback, rollout_buffer, n_rollout_steps)
        if going:
            masks.data.copy_(torch.as_tensor(rollout_buffer.masks))
        return going

    @torch.no_grad()
    def _critic(self, observations: np.ndarray) -> np.ndarray:
        """(n, *obs) -> (n,) values."""
        return self.policy.predict_values(self.policy.obs_to_tensor(observations)[0]).squeeze(-1).cpu().numpy()

    def _minibatches(self) -> Iterator[RoutedSamples]:
        return iter([self.rollout_buffer.whole()]) if self.acted else super()._minibatches()

    def _evaluated(self, batch: RoutedSamples) -> Evaluated:
        if not self.acted:
            return super()._evaluated(batch)
        kept = torch.as_tensor(self.rollout_buffer.weights[:, 0] > 0, device=self.device)
        columns = zip(*self.acted, strict=True)
        self.acted = []  # a graph serves one backward pass
        return Evaluated(*(torch.stack(column).flatten(1).T.flatten()[kept] for column in columns))
