"""Reward model: a network fitted to verdicts predicts the reward where there is none, at episode ends or at all steps.

The model reads the agent's observation of the episode's last state, without the entries that reveal what is watched.
With these entries it would be fitted on watched episode ends only and applied to unwatched ones. Until the first
verdict an episode end without a verdict keeps its proxy reward.
"""

from typing import Any

import numpy as np
import torch
from torch import nn

from routing.oversight.parts import part
from routing.oversight.treatment import Rollout, judged, seen_rewards

WIDTH, BATCH = 64, 512
SAMPLES_PER_STEP = 1024  # samples of the rollout per optimiser step, so its share of the time is constant


@part("reward", "model")
class RewardModel:
    """The verdict where there is one; a model fitted to judged `endings`, or all judged `steps`, rewards the others."""

    def __init__(self, seed: int, of: str = "endings") -> None:
        if of not in ("endings", "steps"):
            raise ValueError(f"model is fitted to {of!r}; use endings or steps")
        self.of = of
        self.rng = np.random.default_rng(seed)
        self.seed = seed
        self.model: nn.Sequential | None = None
        self.features = np.zeros((0, 0))  # (n, d) judged episode ends so far
        self.verdicts = np.zeros(0)  # (n,)

    def __call__(self, rollout: Rollout) -> np.ndarray:
        seen, rewarded = rollout.feedback.seen, self._rewarded(rollout)
        features, verdicts = self._features(rollout), seen[rewarded]  # (n, d), (n,)
        known = ~np.isnan(verdicts) if self.of == "steps" else judged(verdicts)
        self.remember(features[known], verdicts[known])
        rewards = seen_rewards(rollout)
        if self.model is not None:
            self.fit(self.model, max(rollout.rewards.size // SAMPLES_PER_STEP, 1))
            rewards[rewarded & np.isnan(seen)] = self.predict(features[np.isnan(verdicts)])
        return rewards

    def _rewarded(self, rollout: Rollout) -> np.ndarray:
        """(T, N) bool: the steps whose reward the model may predict."""
        if self.of == "endings":
            return rollout.feedback.dones
        return np.ones(rollout.rewards.shape, bool) if rollout.live is None else rollout.live

    def _features(self, rollout: Rollout) -> np.ndarray:
        """(n, d): the agent's observation of the state that each of these steps reached, without flags."""
        if self.of == "endings":
            return rollout.endings[..., ~rollout.flags]
        if rollout.reached is None:
            raise ValueError("reward=model(steps) needs the observation of every step, which this rollout lacks")
        return rollout.reached()[self._rewarded(rollout)][..., ~rollout.flags]

    def remember(self, features: np.ndarray, verdicts: np.ndarray) -> None:
        """Store (n, d) judged episode ends and their (n,) verdicts; the first ones create the model."""
        if self.model is None and len(verdicts):
            self.features = features[:0]
            self.build(features.shape[-1])
        if len(verdicts):
            self.features = np.concatenate([self.features, features])
            self.verdicts = np.concatenate([self.verdicts, verdicts])

    def build(self, inputs: int) -> nn.Sequential:
        """Create the model and its optimiser for episode ends of `inputs` features."""
        self.model = network(inputs, self.seed)
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=2e-3, fused=True)
        return self.model

    def snapshot(self) -> dict[str, Any]:
        """Return the data, the model, its optimiser and the generator state as plain data and arrays."""
        learned = {"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict()} if self.model else {}
        generator = self.rng.bit_generator.state
        return {"features": self.features, "verdicts": self.verdicts, "generator": generator, **learned}

    def restore(self, state: dict[str, Any]) -> None:
        """Restore the state returned by `snapshot`."""
        self.features, self.verdicts = state["features"], state["verdicts"]
        self.rng.bit_generator.state = state["generator"]
        if "model" in state:
            self.build(self.features.shape[-1]).load_state_dict(state["model"])
            self.optimizer.load_state_dict(state["optimizer"])

    def fit(self, model: nn.Sequential, steps: int) -> None:
        """Take `steps` optimiser steps of least squares on all judged episode ends so far."""
        for _ in range(steps):
            batch = self.rng.integers(len(self.verdicts), size=BATCH)
            target = torch.as_tensor(self.verdicts[batch], dtype=torch.float32)
            loss = nn.functional.mse_loss(model(_tensor(self.features[batch])), target)
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()

    @torch.no_grad()
    def predict(self, features: np.ndarray) -> np.ndarray:
        """Predict (n,) rewards of (n, d) episode ends, clipped to the range of the verdicts so far."""
        assert self.model is not None, "no episode end has been judged yet"
        return self.model(_tensor(features)).numpy().clip(self.verdicts.min(), self.verdicts.max())


def network(inputs: int, seed: int) -> nn.Sequential:
    """Build a network (n, inputs) -> (n,), initialised from its own seed; the global generator is unchanged."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(
            *(nn.Linear(inputs, WIDTH), nn.ReLU()),
            *(nn.Linear(WIDTH, WIDTH), nn.ReLU()),
            *(nn.Linear(WIDTH, 1), nn.Flatten(0)),
        )


def _tensor(features: np.ndarray) -> torch.Tensor:
    return torch.as_tensor(features, dtype=torch.float32)
