"""What the overseer saw teaches a model of the reward, which judges what it did not see.

The model reads the agent's observation of the ending, without the entries that tell what is watched: with them it
would only ever be fitted on watched endings and used on unwatched ones.
"""

import numpy as np
import torch
from torch import nn

from routing.registry import learned_method
from routing.treatment import Array, Rollout, Treatment, believed_rewards, untreated

WIDTH, STEPS, BATCH = 64, 64, 256


@learned_method(name="reward_model")
class RewardModel:
    """A reward model fitted to judged endings rewards the others."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.seed = seed
        self.features: Array | None = None  # (n, d) judged endings so far
        self.verdicts: Array | None = None  # (n,)

    def __call__(self, rollout: Rollout) -> Treatment:
        score, dones, _ = rollout.feedback
        features = rollout.reached[..., ~rollout.flags] if rollout.flags.ndim else rollout.reached
        seen = dones & ~np.isnan(score) & (score != 0)
        self.remember(features[seen], score[seen])
        self.fit()
        rewards = believed_rewards(rollout)
        unseen = dones & np.isnan(score)
        rewards[unseen] = self.predict(features[unseen])
        return untreated(rollout)._replace(rewards=rewards)

    def remember(self, features: Array, verdicts: Array) -> None:
        if self.features is None:
            self.features, self.verdicts = features[:0], verdicts[:0]
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(self.seed)
                self.model = nn.Sequential(
                    *(nn.Linear(features.shape[-1], WIDTH), nn.ReLU()),
                    *(nn.Linear(WIDTH, WIDTH), nn.ReLU()),
                    *(nn.Linear(WIDTH, 1), nn.Flatten(0)),
                )
            self.optimizer = torch.optim.Adam(self.model.parameters(), lr=2e-3)
        self.features = np.concatenate([self.features, features])
        self.verdicts = np.concatenate([self.verdicts, verdicts])

    def fit(self) -> None:
        """A few steps of least squares on all endings judged so far; none, and the model stays as it is."""
        for _ in range(STEPS if len(self.verdicts) else 0):
            batch = self.rng.integers(len(self.verdicts), size=BATCH)
            target = torch.as_tensor(self.verdicts[batch], dtype=torch.float32)
            loss = nn.functional.mse_loss(self.model(_tensor(self.features[batch])), target)
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()

    @torch.no_grad()
    def predict(self, features: Array) -> Array:
        """(n, d) endings -> (n,) rewards, within the range of the verdicts; 0 before the first verdict."""
        if not len(self.verdicts):
            return np.zeros(len(features))
        return self.model(_tensor(features)).numpy().clip(self.verdicts.min(), self.verdicts.max())


def _tensor(features: Array) -> torch.Tensor:
    return torch.as_tensor(features, dtype=torch.float32)
