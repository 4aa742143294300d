"""A rollout buffer that keeps the overseer's view, and applies an oversight method just before returns are computed.

Rewards reach the buffer with Stable-Baselines3's bootstrap at time-outs already added, or get it from the buffer's own
critic, all time-outs of the rollout at once. Methods see and replace the raw reward; the bootstrap is kept beside it,
so what a method changes is never the critic's guess of what comes after.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import torch
from stable_baselines3.common.buffers import RolloutBuffer

from agents.vec_env import GymnasiumVecEnv
from routing import BLOCKS, Feedback, Method, Overseer, Rollout, View, episode_labels, judged


class RoutedSamples(NamedTuple):
    """A minibatch: Stable-Baselines3's fields, then what the treatment made of each sample."""

    observations: torch.Tensor  # (B, *obs)
    actions: torch.Tensor  # (B, action_dim)
    old_values: torch.Tensor  # (B,)
    old_log_prob: torch.Tensor  # (B,)
    advantages: torch.Tensor  # (B,)
    returns: torch.Tensor  # (B,)
    weights: torch.Tensor  # (B,)
    masks: torch.Tensor  # (B, M)
    labels: torch.Tensor  # (B,) verdict on the sample's episode, 0 where there is none
    baselined: torch.Tensor  # (B,) bool


class RoutedRolloutBuffer(RolloutBuffer):
    """T steps of N copies, treated by `method` after `overseer` has looked."""

    def __init__(self, *args, method: Method, overseer: Overseer, baseline: bool, flags: np.ndarray, **kwargs):
        self.method, self.overseer, self.baseline, self.flags = method, overseer, baseline, flags
        self.labels_used = 0
        self.critic: Callable[[np.ndarray], np.ndarray] | None = None  # (n, *obs) -> (n,) values
        super().__init__(*args, **kwargs)

    def reset(self) -> None:
        super().reset()
        shape = (self.buffer_size, self.n_envs)
        self.overseer_obs = np.zeros(shape, dtype=np.int64)
        self.true_reward = np.zeros(shape, dtype=np.float64)
        self.raw_reward = np.zeros(shape, dtype=np.float64)
        self.dones = np.zeros(shape, dtype=bool)
        self.live = np.ones(shape, dtype=bool)
        self.timeouts = np.zeros(shape, dtype=bool)
        self.endings: list[np.ndarray] = []

    def record_overseer_view(self, env: GymnasiumVecEnv, dones: np.ndarray) -> None:
        """Keep the overseer's view of the step that `add` is about to store."""
        self.overseer_obs[self.pos] = env.overseer_obs
        self.true_reward[self.pos] = env.true_reward
        self.raw_reward[self.pos] = env.raw_reward
        self.endings.append(env.reached[dones])
        self.dones[self.pos], self.timeouts[self.pos] = dones, env.timeouts

    def compute_returns_and_advantage(self, last_values: torch.Tensor, dones: np.ndarray) -> None:
        """Treat the rollout, then estimate advantages from the treated rewards."""
        feedback = self.overseer(View(self.overseer_obs, self.true_reward, self.dones))
        treatment = self.method(Rollout(self.raw_reward, np.concatenate(self.endings), self.flags, feedback))
        self.rewards += (treatment.rewards - self.raw_reward).astype(np.float32)
        if self.critic is not None and self.timeouts.any():
            late = np.concatenate(self.endings)[self.timeouts[self.dones]]
            self.rewards[self.timeouts] += self.gamma * self.critic(late)
        self.weights = treatment.weights.astype(np.float32) * self.live
        self.masks = treatment.masks.astype(np.float32)
        self.labels = np.nan_to_num(episode_labels(feedback)).astype(np.float32)
        self._count(feedback)
        super().compute_returns_and_advantage(last_values, dones)
        routed = (self.masks != 1).any(-1)
        self.baselined = np.full_like(routed, True) if self.baseline else ~routed
        self.advantages = np.where(self.baselined, self.advantages, self._plain_returns())

    def _plain_returns(self) -> np.ndarray:
        """(T, N) discounted treated reward until the episode ends; right where the end lies in the rollout."""
        ahead = np.zeros(self.n_envs, dtype=np.float32)
        returns = np.empty_like(self.rewards)
        for t in reversed(range(self.buffer_size)):
            ahead = self.rewards[t] + self.gamma * ~self.dones[t] * ahead
            returns[t] = ahead
        return returns

    def _count(self, feedback: Feedback) -> None:
        """The verdicts on this rollout's endings, and the metrics of oversight and routing."""
        scores = feedback.score[feedback.dones]
        self.verdicts = scores[judged(scores)]
        self.labels_used += len(self.verdicts)
        mean_masks = self.masks[self.live].mean(0)
        self.metrics = {
            "oversight/labels_used": float(self.labels_used),
            "oversight/seen_fraction": len(self.verdicts) / max(len(scores), 1),
            **{f"routing/mask_mean/{name}": float(m) for name, m in zip(BLOCKS, mean_masks, strict=True)},
        }

    def get(self, batch_size: int | None = None) -> Iterator[RoutedSamples]:  # type: ignore[override]
        """Minibatches in random order, without the samples that the method filtered out."""
        if not self.generator_ready:
            self._flatten("weights", "labels", "baselined", "masks")
        return super().get(batch_size)  # type: ignore[return-value]

    def whole(self) -> RoutedSamples:
        """All of the rollout that was not filtered out, copy by copy; instead of `get`."""
        self._flatten("weights", "labels", "baselined", "masks")
        self._flatten("observations", "actions", "values", "log_probs", "advantages", "returns")
        return self._get_samples(np.arange(len(self.weights)))

    def _flatten(self, *names: str) -> None:
        for name in names:
            self.__dict__[name] = self.swap_and_flatten(self.__dict__[name])

    def _get_samples(self, batch_inds: np.ndarray, env=None) -> RoutedSamples:  # type: ignore[override]
        kept = batch_inds[self.weights[batch_inds, 0] > 0]
        samples = super()._get_samples(kept)
        extra = (self.weights[kept, 0], self.masks[kept], self.labels[kept, 0], self.baselined[kept, 0])
        return RoutedSamples(*samples, *map(self.to_torch, extra))
