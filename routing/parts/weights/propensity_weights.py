"""Inverse propensity weights where the propensity depends on what was reached, and is estimated from it.

P(judged | z) is a network's logistic output, z the agent's observation of the state reached without the entries that
reveal what is watched (Horvitz and Thompson 1952; Rosenbaum and Rubin 1983 for the estimated score). It is fitted to
episodes with a good or bad verdict and to those with a proxy reward but no verdict, up to 50 000, drawn from all so
far. Weights of judged episodes are 1 / P(judged | z), at most `cap`: below P = 1 / cap they are biased.

No weight corrects for what is never judged. The run is stopped where that shows: among rewarded endings for which the
network, before it is fitted to them, predicts less than a tenth of the share of judged ones, none was judged, although
20 or more would have been at that share, and they are 5 % or more of all.
"""

import math
from typing import Any

import numpy as np

from routing.oversight import fitting
from routing.oversight.fitting import RECENT, Classifier, Memory
from routing.oversight.parts import part
from routing.oversight.treatment import Rollout, judged, spread_from_ends

LOW, EXPECTED, SHARE = 0.1, 20, 0.05


@part("weights", world=("positivity",))
class propensity_weights:  # noqa: N801  (the name of the part)
    """Weight 1/P(judged | z), at most `cap`, on judged episodes; a model predicts P from the observation of the end."""

    def __init__(self, seed: int, cap: float = math.inf) -> None:
        if cap < 1:
            raise ValueError(f"propensity_weights has cap {cap:g}; a weight is at least 1")
        self.cap = cap
        self.learned, self.memory = Classifier(seed), Memory(seed, RECENT)
        self.judged, self.rewarded = 0, 0
        self.low, self.low_judged = 0, 0  # rewarded endings of low predicted propensity, and how many were judged

    def __call__(self, rollout: Rollout) -> np.ndarray:
        labels, of = rollout.labels, "steps" if rollout.labelled_by_step else "endings"
        steps = fitting.steps_of(rollout, of)
        known = judged(labels)[steps]
        candidates = known | (rollout.rewards[steps] != 0)
        z = fitting.features_of(rollout, of, "agent")
        self._check_positivity(z[candidates], known[candidates])
        self.memory.add(z[candidates], known[candidates].astype(float))
        if not self.judged:
            return np.ones(labels.shape)
        self.learned.fit(self.memory.features, self.memory.targets, fitting.steps_for(rollout))
        weights = np.full(labels.shape, np.nan)
        weights[steps] = 1 / self.learned.probabilities(z)
        spread = weights if rollout.labelled_by_step else spread_from_ends(weights, rollout.feedback.dones)
        return np.where(judged(labels), np.minimum(spread, self.cap), 1.0)

    def _check_positivity(self, z: np.ndarray, known: np.ndarray) -> None:
        """Count (n, d) rewarded endings and those of low predicted propensity; raise ValueError if it seems to be 0."""
        self.judged, self.rewarded = self.judged + int(known.sum()), self.rewarded + len(known)
        if self.learned.model is None or not len(z):
            return
        share = self.judged / self.rewarded
        low = self.learned.probabilities(z) < LOW * share
        self.low, self.low_judged = self.low + int(low.sum()), self.low_judged + int(known[low].sum())
        if not self.low_judged and self.low * share >= EXPECTED and self.low >= SHARE * self.rewarded:
            raise ValueError(
                f"weights=propensity_weights: none of {self.low} rewarded endings that look alike was judged, and "
                f"{self.low * share:.0f} would have been at the share of all, {share:.3g}: what is never judged cannot "
                "be weighted; use reward=minimax or reward=abstaining"
            )

    def snapshot(self) -> dict[str, Any]:
        """Return the network, its data and the counts."""
        learned = {"learned": self.learned.snapshot(), "memory": self.memory.snapshot()}
        return learned | {name: getattr(self, name) for name in COUNTS}

    def restore(self, state: dict[str, Any]) -> None:
        """Restore the state returned by `snapshot`."""
        self.learned.restore(state["learned"])
        self.memory.restore(state["memory"])
        for name in COUNTS:
            setattr(self, name, state[name])


COUNTS = ("judged", "rewarded", "low", "low_judged")
