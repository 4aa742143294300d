"""Reward models: networks fitted to verdicts predict the reward where there is none, at episode ends or at all steps.

By default the model reads the agent's observation of the state reached, without the entries that reveal what is
watched (`sees=agent`). With these entries (`sees=flags`) it is fitted on watched episode ends only and applied to
unwatched ones. Until the first verdict a step without a verdict keeps its proxy reward.

With `sees=overseer` the model reads what the overseer observed in the step. Taken as it is, this observation would be
of no use: what is judged looks unlike what is not. So each judged step is fitted as an unjudged one would show it: the
features that a randomly drawn unjudged step of the rollout lacks are removed from it, or its label is replaced by that
of the drawn step. The model then predicts the mean verdict given the features that are left; where the overseer
observes labels alone, it predicts the mean verdict.
"""

from typing import Any

import numpy as np

from routing.oversight import fitting
from routing.oversight.fitting import OF, RECENT, SEES, Classifier, Learned, Memory, check_choice
from routing.oversight.parts import part
from routing.oversight.treatment import Rollout, judged, seen_rewards


@part("reward", "model")
class RewardModel:
    """The verdict where there is one; a model fitted to judged `endings`, or all judged `steps`, rewards the others."""

    def __init__(self, seed: int, of: str = "endings", sees: str = "agent") -> None:
        self.of = check_choice("reward model", "of", of, OF)
        self.sees = check_choice("reward model", "sees", sees, SEES)
        self.learned = Learned(seed)
        self.memory = Memory()  # of judged steps and their verdicts

    def __call__(self, rollout: Rollout) -> np.ndarray:
        seen, steps = rollout.feedback.seen, fitting.steps_of(rollout, self.of)
        verdicts = seen[steps]  # (n,)
        unknown = np.isnan(verdicts)
        known = ~unknown if self.of == "steps" else judged(verdicts)
        fitted, features = self._inputs(rollout, known, unknown)
        self.memory.add(fitted, verdicts[known])
        rewards = seen_rewards(rollout)
        if len(self.memory):
            self.fit(fitting.steps_for(rollout))
            rewards[steps & np.isnan(seen)] = self.rewards_of(features, rollout, known, unknown)
        return rewards

    def _inputs(self, rollout: Rollout, known: np.ndarray, unknown: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The features (k, d) to fit to, and those (u, d) of the steps whose reward is predicted."""
        features = fitting.features_of(rollout, self.of, self.sees)
        if self.sees != "overseer":
            return features[known], features[unknown]
        labels = rollout.overseer_obs is not None and rollout.overseer_obs.ndim == 2
        shown = fitting.as_unjudged(features[known], features[unknown], labels, self.learned.rng)
        return fitting.with_gaps(shown), fitting.with_gaps(features[unknown])

    def fit(self, steps: int) -> None:
        """Take `steps` optimiser steps of least squares on all judged steps so far."""
        self.learned.fit(self.memory.features, self.memory.targets, steps)

    def rewards_of(self, features: np.ndarray, rollout: Rollout, known: np.ndarray, unknown: np.ndarray) -> np.ndarray:
        """Rewards (u,) of the unknown steps among the n that the model concerns, whose features are (u, d)."""
        return self.predict(features)

    def predict(self, features: np.ndarray) -> np.ndarray:
        """Predict (n,) rewards from (n, d) features, clipped to the range of the verdicts so far."""
        return self.clipped(self.learned.outputs(features))

    def clipped(self, predictions: np.ndarray) -> np.ndarray:
        """Clip (n,) predictions to the range of the verdicts so far."""
        return predictions.clip(self.memory.targets.min(), self.memory.targets.max())

    def snapshot(self) -> dict[str, Any]:
        """Return the data, the model, its optimiser and the generator state as plain data and arrays."""
        data = {"features": self.memory.features, "verdicts": self.memory.targets}
        return data | self.learned.snapshot()

    def restore(self, state: dict[str, Any]) -> None:
        """Restore the state returned by `snapshot`."""
        self.memory.features, self.memory.targets = state["features"], state["verdicts"]
        self.learned.restore(state)


@part("reward")
class lower_bound(RewardModel):  # noqa: N801  (the name of the part)
    """As model, with the least prediction of several `members`, networks that differ in initialisation and minibatches.

    A lower confidence bound by an ensemble (Lakshminarayanan et al. 2017, arXiv 1612.01474); the minimum is worst-case
    optimisation (Coste et al. 2023, arXiv 2310.02743, section 3).
    """

    def __init__(self, seed: int, members: int = 5, of: str = "endings", sees: str = "agent") -> None:
        super().__init__(seed, of, sees)
        if not 1 <= members <= 50:
            raise ValueError(f"lower_bound has {members} members; use 1 to 50")
        self.members = [self.learned, *(Learned(1000 * (seed + 1) + member) for member in range(1, members))]

    def fit(self, steps: int) -> None:
        """Fit every member."""
        for member in self.members:
            member.fit(self.memory.features, self.memory.targets, steps)

    def predict(self, features: np.ndarray) -> np.ndarray:
        """Predict (n,) rewards from (n, d) features: the least of the members' predictions, clipped."""
        return self.clipped(np.min([member.outputs(features) for member in self.members], axis=0))

    def snapshot(self) -> dict[str, Any]:
        """Return the data and all members."""
        return super().snapshot() | {"members": [member.snapshot() for member in self.members[1:]]}

    def restore(self, state: dict[str, Any]) -> None:
        """Restore the state returned by `snapshot`."""
        super().restore(state)
        for member, saved in zip(self.members[1:], state["members"], strict=True):
            member.restore(saved)


@part("reward")
class abstaining(RewardModel):  # noqa: N801  (the name of the part)
    """As model, but 0 where P(labelled | z), which a second model predicts, is below `threshold` times p.

    p is the declared propensity or, where that is unknown or 0, the share of labelled steps so far. The second model
    reads the agent's observation without the entries that reveal what is watched, whatever the first one sees. It is
    fitted to the steps to which the first is fitted and to those without a verdict, at most 50 000 drawn from all.
    """

    def __init__(self, seed: int, threshold: float = 0.4, of: str = "endings", sees: str = "agent") -> None:
        super().__init__(seed, of, sees)
        if not threshold >= 0:
            raise ValueError(f"abstaining has threshold {threshold:g}; give 0 or more")
        self.threshold = threshold
        self.labelled = Classifier(1000 * (seed + 1))
        self.looks = Memory(seed, RECENT)  # of steps with and without a verdict

    def rewards_of(self, features: np.ndarray, rollout: Rollout, known: np.ndarray, unknown: np.ndarray) -> np.ndarray:
        """The predictions, 0 where a label is improbable."""
        z, candidates = fitting.features_of(rollout, self.of, "agent"), known | unknown
        self.looks.add(z[candidates], known[candidates].astype(float))
        self.labelled.fit(self.looks.features, self.looks.targets, fitting.steps_for(rollout))
        declared = rollout.feedback.propensity
        p = declared if declared > 0 else float(self.looks.targets.mean())
        known_enough = self.labelled.probabilities(z[unknown]) >= self.threshold * p
        return np.where(known_enough, self.predict(features), 0.0)

    def snapshot(self) -> dict[str, Any]:
        """Return both models and their data."""
        return super().snapshot() | {"labelled": self.labelled.snapshot(), "looks": self.looks.snapshot()}

    def restore(self, state: dict[str, Any]) -> None:
        """Restore the state returned by `snapshot`."""
        super().restore(state)
        self.labelled.restore(state["labelled"])
        self.looks.restore(state["looks"])
