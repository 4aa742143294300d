"""Routes Stable-Baselines3's own PPO: a rollout buffer labels each minibatch as PPO.train() draws it.

PPO itself is not changed. While PPO iterates over minibatches, the policy is inside a router's context, so
`evaluate_actions` routes each sample's gradient by its label. Acting and evaluation are not routed.
"""

from collections.abc import Callable, Iterator

import numpy as np
import torch
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.type_aliases import RolloutBufferSamples

from routing import Router

Labeller = Callable[[RolloutBuffer], np.ndarray]
"""A full buffer of T steps of N copies -> (T, N) int hard labels or (T, N, K) float soft ones."""


class LabelledRolloutBuffer(RolloutBuffer):
    """A rollout buffer whose minibatches are routed by their labels.

    >>> buffer = {"rollout_buffer_class": LabelledRolloutBuffer, "rollout_buffer_kwargs": {"label": label}}
    >>> model = PPO("MlpPolicy", env, **buffer)
    >>> rules = Rules(Regions(model.policy, {"actor": module("mlp_extractor.policy_net")}), ("seen", "unseen"), ...)
    >>> model.rollout_buffer.router = Router(model.policy, rules)

    Args:
        label: computes the labels of a full buffer; it may read what a callback collected during the rollout.

    Attributes:
        router: routes the policy; None routes nothing.
    """

    router: Router | None = None

    def __init__(self, *args, label: Labeller, **kwargs) -> None:
        self.label = label
        super().__init__(*args, **kwargs)

    def compute_returns_and_advantage(self, last_values: torch.Tensor, dones: np.ndarray) -> None:
        """Label the rollout, then estimate advantages.

        Args:
            last_values: (N,) values of the observations after the last step.
            dones: (N,) bool, whether the last step ended an episode.

        Raises:
            ValueError: the labels are not one per step and copy.
        """
        labels = np.asarray(self.label(self))
        if labels.shape[:2] != (self.buffer_size, self.n_envs):
            expected = (self.buffer_size, self.n_envs)
            raise ValueError(f"labels have shape {labels.shape}; return one for each step of each copy, {expected}")
        self.labels = labels.swapaxes(0, 1).reshape(-1, *labels.shape[2:])  # in the order of swap_and_flatten
        super().compute_returns_and_advantage(last_values, dones)

    def get(self, batch_size: int | None = None) -> Iterator[RolloutBufferSamples]:  # type: ignore[override]
        """Yield minibatches in random order; the policy is routed by the labels of the latest one."""
        if self.router is None:
            yield from super().get(batch_size)
            return
        with self.router:
            yield from super().get(batch_size)

    def _get_samples(self, batch_inds: np.ndarray, env=None) -> RolloutBufferSamples:
        if self.router is not None:
            self.router.label(torch.as_tensor(self.labels[batch_inds], device=self.device))
        return super()._get_samples(batch_inds, env)
