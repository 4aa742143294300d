"""What the overseer saw teaches a model of the reward, which judges what it did not see.

The model reads the agent's observation of the ending, without the entries that tell what is watched: with them it
would only ever be fitted on watched endings and used on unwatched ones. Until the first verdict an unseen ending keeps
its proxy reward.
"""

from typing import Any

import numpy as np
import torch
from torch import nn

from routing.oversight.registry import learned_method
from routing.oversight.treatment import Rollout, Treatment, believed_rewards, judged, untreated

WIDTH, BATCH = 64, 512
SAMPLES_A_STEP = 1024  # of the rollout, for each step of its optimiser: its share of the time is one for all rollouts


@learned_method(name="reward_model")
class RewardModel:
    """A reward model fitted to judged endings rewards the others."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.seed = seed
        self.model: nn.Sequential | None = None
        self.features = np.zeros((0, 0))  # (n, d) judged endings so far
        self.verdicts = np.zeros(0)  # (n,)

    def __call__(self, rollout: Rollout) -> Treatment:
        score, dones, _ = rollout.feedback
        features, verdicts = rollout.endings[..., ~rollout.flags], score[dones]  # (E, d), (E,)
        self.remember(features[judged(verdicts)], verdicts[judged(verdicts)])
        rewards = believed_rewards(rollout)
        if self.model is not None:
            self.fit(self.model, max(rollout.rewards.size // SAMPLES_A_STEP, 1))
            rewards[dones & np.isnan(score)] = self.predict(features[np.isnan(verdicts)])
        return untreated(rollout)._replace(rewards=rewards)

    def remember(self, features: np.ndarray, verdicts: np.ndarray) -> None:
        """Keep (n, d) judged endings; the first ones make the model."""
        if self.model is None and len(verdicts):
            self.features = features[:0]
            self.begin(features.shape[-1])
        if len(verdicts):
            self.features = np.concatenate([self.features, features])
            self.verdicts = np.concatenate([self.verdicts, verdicts])

    def begin(self, inputs: int) -> nn.Sequential:
        """Make the model, of endings of that many features."""
        self.model = network(inputs, self.seed)
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=2e-3, fused=True)
        return self.model

    def snapshot(self) -> dict[str, Any]:
        """What it has learned so far, and its generator."""
        learned = {"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict()} if self.model else {}
        generator = self.rng.bit_generator.state
        return {"features": self.features, "verdicts": self.verdicts, "generator": generator, **learned}

    def restore(self, state: dict[str, Any]) -> None:
        """Goes on where `snapshot` was taken."""
        self.features, self.verdicts = state["features"], state["verdicts"]
        self.rng.bit_generator.state = state["generator"]
        if "model" in state:
            self.begin(self.features.shape[-1]).load_state_dict(state["model"])
            self.optimizer.load_state_dict(state["optimizer"])

    def fit(self, model: nn.Sequential, steps: int) -> None:
        """Some steps of least squares on all endings judged so far."""
        for _ in range(steps):
            batch = self.rng.integers(len(self.verdicts), size=BATCH)
            target = torch.as_tensor(self.verdicts[batch], dtype=torch.float32)
            loss = nn.functional.mse_loss(model(_tensor(self.features[batch])), target)
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()

    @torch.no_grad()
    def predict(self, features: np.ndarray) -> np.ndarray:
        """(n, d) endings -> (n,) rewards, within the range of the verdicts so far."""
        assert self.model is not None, "no ending has been judged yet"
        return self.model(_tensor(features)).numpy().clip(self.verdicts.min(), self.verdicts.max())


def network(inputs: int, seed: int) -> nn.Sequential:
    """(n, inputs) -> (n,), initialised from its own seed: the learner's global generator is left alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(
            *(nn.Linear(inputs, WIDTH), nn.ReLU()),
            *(nn.Linear(WIDTH, WIDTH), nn.ReLU()),
            *(nn.Linear(WIDTH, 1), nn.Flatten(0)),
        )


def _tensor(features: np.ndarray) -> torch.Tensor:
    return torch.as_tensor(features, dtype=torch.float32)
