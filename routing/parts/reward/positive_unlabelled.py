"""Positive-unlabelled reward: a model for overseers that only ever give good, or only ever give bad verdicts.

An overseer that reports bad acts alone does not tell good from unseen. If a step of the labelled class is labelled with
a probability c that does not depend on what the agent observes, P(class | z) = P(labelled | z) / c (Elkan and Noto
2008, "Learning classifiers from only positive and unlabeled data", lemma 1). A network is fitted to which steps are
labelled; c is the overseer's declared propensity or, where that is unknown or 0, their estimator e1: the network's mean
output over labelled steps. The entries of the observation that reveal what is watched are left out, because c depends
on them.

The reward of a step without verdict is P v + (1 - P) w, where v is the mean verdict so far. w is the proxy reward if
verdicts are bad. If they are good, what is not of the labelled class earns nothing: w is 0 where the proxy reward is
positive, and the proxy reward elsewhere. (With w = -v a policy is first taught to reach nothing, and recovers late.)
"""

from typing import Any

import numpy as np

from routing.oversight import fitting
from routing.oversight.fitting import OF, RECENT, Classifier, Memory, check_choice
from routing.oversight.parts import part
from routing.oversight.treatment import Rollout, judged, seen_rewards

FITS = 2  # times the optimiser steps of other models: the reward of all steps depends on few labels
LEAST = 1e-3  # least propensity that divides
SAMPLED = 2048  # labelled steps over which the propensity is estimated


@part("reward", world=("one-sided verdicts",))
class positive_unlabelled:  # noqa: N801  (the name of the part)
    """For one-sided verdicts: the others' reward by P(labelled | z) / p (Elkan and Noto 2008), of `endings` or `steps`.

    Args:
        seed: of the network and its minibatches.
        of: endings or steps.
        propensity: declared, or estimated (also used where the overseer declares none).
    """

    def __init__(self, seed: int, of: str = "endings", propensity: str = "declared") -> None:
        self.of = check_choice("positive_unlabelled", "of", of, OF)
        self.propensity = check_choice("positive_unlabelled", "propensity", propensity, ("declared", "estimated"))
        self.learned, self.memory = Classifier(seed), Memory(seed, RECENT)
        self.total, self.count = 0.0, 0  # of verdicts so far

    def __call__(self, rollout: Rollout) -> np.ndarray:
        seen, steps = rollout.feedback.seen, fitting.steps_of(rollout, self.of)
        verdicts, features = seen[steps], fitting.features_of(rollout, self.of, "agent")
        labelled, unlabelled = judged(verdicts), np.isnan(verdicts)
        self._count(verdicts[labelled])
        candidates = labelled | unlabelled
        self.memory.add(features[candidates], labelled[candidates].astype(float))
        rewards = seen_rewards(rollout)
        if self.count and unlabelled.any():
            self.learned.fit(self.memory.features, self.memory.targets, FITS * fitting.steps_for(rollout))
            share = self.probability(features[unlabelled], rollout.feedback.propensity)
            others = self._others(rollout.rewards[steps & np.isnan(seen)])
            rewards[steps & np.isnan(seen)] = share * self.verdict + (1 - share) * others
        return rewards

    @property
    def verdict(self) -> float:
        """The mean verdict so far."""
        return self.total / self.count

    def _others(self, proxy: np.ndarray) -> np.ndarray:
        """(n,) rewards of steps that are not of the labelled class."""
        return np.minimum(proxy, 0) if self.verdict > 0 else proxy

    def _count(self, verdicts: np.ndarray) -> None:
        """Add up verdicts; raise ValueError if they are not one-sided."""
        signs = np.append(verdicts, self.total)
        if (signs > 0).any() and (signs < 0).any():
            raise ValueError(
                "reward=positive_unlabelled needs verdicts that are all good or all bad, found both; use reward=model"
            )
        self.total += float(verdicts.sum())
        self.count += len(verdicts)

    def probability(self, features: np.ndarray, declared: float) -> np.ndarray:
        """(n, d) -> (n,): P(of the labelled class | z), at most 1."""
        c = declared if self.propensity == "declared" and declared > 0 else self._estimate()
        return np.minimum(self.learned.probabilities(features) / max(c, LEAST), 1.0)

    def _estimate(self) -> float:
        """Elkan and Noto's estimator e1 of the propensity, over labelled steps of the memory."""
        labelled = np.flatnonzero(self.memory.targets)[:SAMPLED]
        return float(self.learned.probabilities(self.memory.features[labelled]).mean()) if len(labelled) else 1.0

    def snapshot(self) -> dict[str, Any]:
        """Return the network, its data and the sum of the verdicts."""
        learned = {"learned": self.learned.snapshot(), "memory": self.memory.snapshot()}
        return learned | {"total": self.total, "count": self.count}

    def restore(self, state: dict[str, Any]) -> None:
        """Restore the state returned by `snapshot`."""
        self.learned.restore(state["learned"])
        self.memory.restore(state["memory"])
        self.total, self.count = state["total"], state["count"]
