"""Networks that parts fit to what the overseer judged: features, memory, fitting and resuming.

Parts fit small networks in the course of training, a number of optimiser steps for each rollout that is proportional to
its samples, so that the share of the time is constant. A `Memory` holds the samples, a `Learned` network is fitted.
"""

import copy
import math
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from routing.oversight.treatment import Rollout

WIDTH, BATCH = 64, 512
SAMPLES_PER_STEP = 1024  # samples of the rollout per optimiser step, so its share of the time is constant
OUTPUT, LEAST = 4, 1e-3  # index of a network's last linear layer; least share from which a classifier starts
RECENT = 50_000  # samples of a memory of judged and unjudged ones
LABELS = 32  # entries of the one-hot form of an overseer's label
OF, SEES = ("endings", "steps"), ("agent", "flags", "overseer")


def check_choice(part: str, name: str, value: str, known: tuple[str, ...]) -> str:
    """Return a value that is one of those known; raise ValueError otherwise."""
    if value not in known:
        raise ValueError(f"{part} has {name}={value}; use {' or '.join(known)}")
    return value


def steps_of(rollout: Rollout, of: str) -> np.ndarray:
    """(T, N) bool: the steps on which a model is fitted and applied: episode ends, or all that the copies took."""
    if of == "endings":
        return rollout.feedback.dones
    return np.ones(rollout.rewards.shape, bool) if rollout.live is None else rollout.live


def features_of(rollout: Rollout, of: str, sees: str) -> np.ndarray:
    """Return the inputs of a model on each step that it concerns.

    Args:
        rollout: T steps of N copies.
        of: "endings" or "steps"; see `steps_of`.
        sees: "agent": the agent's observation of the state reached, without the entries that reveal what is watched;
            "flags": with them; "overseer": what the overseer observed in the step.

    Returns:
        (n, d) features. Of the overseer: (n, F) numbers, nan where a feature was not observed, or (n, L) one-hot
        labels, whose numbers are taken modulo L = 32.

    Raises:
        ValueError: the rollout lacks what the model reads.
    """
    steps = steps_of(rollout, of)
    if sees == "overseer":
        return _overseer_features(rollout, steps)
    if of == "endings":
        reached = rollout.endings
    elif rollout.reached is None:
        raise ValueError("reward=model(steps) needs the observation of every step, which this rollout lacks")
    else:
        reached = rollout.reached()[steps]
    return (
        reached[..., ~rollout.flags] if sees == "agent" else reached.reshape(len(reached), math.prod(reached.shape[1:]))
    )


def _overseer_features(rollout: Rollout, steps: np.ndarray) -> np.ndarray:
    if rollout.overseer_obs is None:
        raise ValueError("sees=overseer needs what the overseer observed, which this rollout lacks; use sees=agent")
    observed = rollout.overseer_obs[steps]
    if observed.ndim > 1:
        return observed.astype(np.float32)
    return np.eye(LABELS, dtype=np.float32)[observed % LABELS]


def as_unjudged(features: np.ndarray, unjudged: np.ndarray, labels: bool, rng: np.random.Generator) -> np.ndarray:
    """Return what the overseer would have observed of judged steps, had it been what it observes of unjudged ones.

    Args:
        features: (n, F) of judged steps.
        unjudged: (m, F) of unjudged steps, of which one is drawn for each judged step.
        labels: the features are one-hot labels: the label drawn takes the place of the label. Else the entries that are
            nan in the row drawn are nan.
        rng: draws.

    Returns:
        (n, F); `features` if m is 0.
    """
    if not len(unjudged):
        return features
    drawn = unjudged[rng.integers(len(unjudged), size=len(features))]
    return drawn if labels else np.where(np.isnan(drawn), np.nan, features)


def with_gaps(features: np.ndarray) -> np.ndarray:
    """(n, F) with nan -> (n, 2 F): 0 where a feature was not observed, and which were not."""
    gaps = np.isnan(features)
    return np.concatenate([np.where(gaps, 0, features), gaps], 1).astype(np.float32)


class Memory:
    """Samples to fit to. Beyond `limit` each new sample replaces one drawn at random (reservoir sampling, Vitter 1985).

    Args:
        seed: of the draws.
        limit: largest number of samples.

    Attributes:
        features: (n, d).
        targets: (n,) float.
    """

    def __init__(self, seed: int = 0, limit: float = math.inf) -> None:
        self.rng, self.limit, self.met = np.random.default_rng([seed, 0x3E3]), limit, 0
        self.features: np.ndarray = np.zeros((0, 0))
        self.targets: np.ndarray = np.zeros(0)

    def __len__(self) -> int:
        return len(self.targets)

    def add(self, features: np.ndarray, targets: np.ndarray) -> None:
        """Store (n, d) features and (n,) targets."""
        if not len(targets):
            return
        if not len(self):
            self.features = features[:0]
        free = int(min(max(self.limit - len(self), 0), len(targets)))
        self.features = np.concatenate([self.features, features[:free]])
        self.targets = np.concatenate([self.targets, targets[:free]])
        self.met += free
        if free < len(targets):
            self._replace(features[free:], targets[free:])

    def _replace(self, features: np.ndarray, targets: np.ndarray) -> None:
        """Store each sample in the place of another with the probability that keeps all equally likely."""
        place = self.rng.integers(np.arange(self.met, self.met + len(targets)) + 1)
        self.met += len(targets)
        stored = place < len(self)
        self.features[place[stored]] = features[stored]
        self.targets[place[stored]] = targets[stored]

    def snapshot(self) -> dict[str, Any]:
        """Return samples, counts and generator."""
        counts = {"met": self.met, "draws": self.rng.bit_generator.state}
        return {"features": self.features.copy(), "targets": self.targets.copy(), **counts}

    def restore(self, state: dict[str, Any]) -> None:
        """Restore the state returned by `snapshot`."""
        self.features, self.targets = state["features"], state["targets"]
        self.met, self.rng.bit_generator.state = state["met"], state["draws"]


class Learned:
    """A network (n, d) -> (n,) with its optimiser and the generator of its minibatches; made for its first sample.

    Args:
        seed: of initial parameters and minibatches.
    """

    rate = 2e-3
    """learning rate"""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.rng = np.random.default_rng(seed)
        self.model: nn.Sequential | None = None

    def build(self, inputs: int) -> nn.Sequential:
        """Create the network and its optimiser for samples of `inputs` features."""
        self.model = network(inputs, self.seed)
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=self.rate, fused=True)
        return self.model

    def fit(self, features: np.ndarray, targets: np.ndarray, steps: int) -> None:
        """Take `steps` optimiser steps, each on a minibatch of n > 0 samples, (n, d) and (n,)."""
        model = self.model or self._first(features, targets)
        for _ in range(steps):
            batch = self.rng.integers(len(targets), size=BATCH)
            target = as_tensor(targets[batch])
            loss = self.loss(model(as_tensor(features[batch])), target)
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Mean squared error of (B,) outputs."""
        return nn.functional.mse_loss(outputs, targets)

    def _first(self, features: np.ndarray, targets: np.ndarray) -> nn.Sequential:
        """The network before it is fitted to its first samples."""
        return self.build(features.shape[-1])

    @torch.no_grad()
    def outputs(self, features: np.ndarray) -> np.ndarray:
        """(n, d) -> (n,)."""
        assert self.model is not None, "the network is fitted before it predicts"
        return self.model(as_tensor(features)).numpy()

    def snapshot(self) -> dict[str, Any]:
        """Return the network, its optimiser and its generator as plain data and arrays."""
        learned = {"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict()} if self.model else {}
        return {"generator": self.rng.bit_generator.state, **copy.deepcopy(learned)}

    def restore(self, state: dict[str, Any]) -> None:
        """Restore the state returned by `snapshot`."""
        self.rng.bit_generator.state = state["generator"]
        if "model" in state:
            self.build(next(iter(state["model"].values())).shape[-1]).load_state_dict(state["model"])
            self.optimizer.load_state_dict(state["optimizer"])


class Classifier(Learned):
    """A network whose outputs are logits, fitted to targets 0 and 1 by their cross-entropy.

    It starts from the share of targets that are 1: where they are rare, what it predicts for all samples until it is
    fitted would otherwise be far from them.
    """

    rate = 5e-3

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Cross-entropy of (B,) logits."""
        return nn.functional.binary_cross_entropy_with_logits(outputs, targets)

    def _first(self, features: np.ndarray, targets: np.ndarray) -> nn.Sequential:
        model = super()._first(features, targets)
        share = float(np.clip(targets.mean(), LEAST, 1 - LEAST))
        with torch.no_grad():
            nn.init.constant_(model[OUTPUT].get_parameter("bias"), math.log(share / (1 - share)))
        return model

    def probabilities(self, features: np.ndarray) -> np.ndarray:
        """(n, d) -> (n,) in (0, 1)."""
        return 1 / (1 + np.exp(-self.outputs(features).clip(-30, 30)))


def steps_for(rollout: Rollout) -> int:
    """Number of optimiser steps after a rollout."""
    return max(rollout.rewards.size // SAMPLES_PER_STEP, 1)


def network(inputs: int, seed: int) -> nn.Sequential:
    """Build a network (n, inputs) -> (n,), initialised from its own seed; the global generator is unchanged."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(
            *(nn.Linear(inputs, WIDTH), nn.ReLU()),
            *(nn.Linear(WIDTH, WIDTH), nn.ReLU()),
            *(nn.Linear(WIDTH, 1), nn.Flatten(0)),
        )


def as_tensor(x: np.ndarray) -> Tensor:
    """As a float32 tensor."""
    return torch.as_tensor(x, dtype=torch.float32)
