"""PPO under an overseer with one forward pass per sample where a rollout has a single optimiser step.

With one step per rollout the policy that learns is the policy that acted, and masks are read only in the backward pass.
So the graph that acting built is reused for the update, and each sample has one forward pass instead of two. The values
at time-outs are computed in one batch; Stable-Baselines3 computes them one at a time.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from agents.learners.ppo import RoutedPPO
from agents.learners.routed_buffer import RoutedSamples
from agents.policies.policy import BlockPolicy, Evaluated


class OnePassPPO(RoutedPPO):
    """`RoutedPPO` with fewer forward passes.

    Under an overseer the two agree to rounding. In an environment without one, or under Stable-Baselines3's wrappers,
    they are equal.
    """

    def _setup_model(self) -> None:
        super()._setup_model()
        self.acted: list[Evaluated] = []  # one per step of the rollout; empty if nothing was recorded

    @property
    def _direct(self) -> bool:
        """Whether the environment is the adapter of one with an overseer, without wrappers."""
        return self.env is not None and self.overseer_env is self.env

    def _excluded_save_params(self) -> list[str]:
        return [*super()._excluded_save_params(), "acted"]

    def collect_rollouts(self, env, callback, rollout_buffer, n_rollout_steps: int) -> bool:
        """Collect a rollout; if it has a single optimiser step, record the graph of acting."""
        self.acted = []
        if not self._direct:
            return super().collect_rollouts(env, callback, rollout_buffer, n_rollout_steps)
        rollout_buffer.critic = self._critic
        env.report_timeouts = False  # only for this rollout: another learner may use the environment afterwards
        try:
            return self._collect(env, callback, rollout_buffer, n_rollout_steps)
        finally:
            env.report_timeouts = True

    def _collect(self, env, callback, rollout_buffer, n_rollout_steps: int) -> bool:
        one_step = self.n_epochs == 1 and self.batch_size >= n_rollout_steps * env.num_envs
        blocks = isinstance(self.policy, BlockPolicy)
        if not (one_step and blocks) or self.coins is not None or self.policy.architecture.reads_masks:
            return super().collect_rollouts(env, callback, rollout_buffer, n_rollout_steps)
        masks = torch.ones(n_rollout_steps, env.num_envs, self.policy.experts + 1, device=self.device)
        with self.policy.recorded(masks) as self.acted:
            completed = super().collect_rollouts(env, callback, rollout_buffer, n_rollout_steps)
        if completed:
            masks.data.copy_(torch.as_tensor(rollout_buffer.masks))
        return completed

    @torch.no_grad()
    def _critic(self, observations: Any) -> np.ndarray:
        """(n, *obs), by name for a Dict space -> (n,) values."""
        return self.policy.predict_values(self.policy.obs_to_tensor(observations)[0]).squeeze(-1).cpu().numpy()

    def _minibatches(self) -> Iterator[RoutedSamples]:
        return iter([self.rollout_buffer.whole()]) if self.acted else super()._minibatches()

    def _evaluate(self, batch: RoutedSamples) -> Evaluated:
        if not self.acted:
            return super()._evaluate(batch)
        selected = torch.as_tensor(self.rollout_buffer.weights[:, 0] > 0, device=self.device)
        columns = zip(*self.acted, strict=True)
        self.acted = []  # a graph serves one backward pass
        values, log_prob, entropy = (
            None if column[0] is None else torch.stack(column).flatten(1).T.flatten()[selected] for column in columns
        )
        return Evaluated(values, log_prob, entropy)  # type: ignore[arg-type]  # only the entropy may be None
