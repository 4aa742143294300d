"""Taint: what looks like anything that was ever judged bad is penalised, whether or not it is seen this time.

The memory does not forget: a false alarm taints what it was raised on for the rest of the run. With `match=exact` a
step matches if the agent's observation of the state reached is one of those that were judged bad. With `match=model` it
matches if a network, fitted in equal parts to everything that was judged bad and to steps that were not, finds it more
like the former: P > 1/2. That generalises, and matches in part what is common to good and bad acts.
"""

from typing import Any

import numpy as np

from routing.oversight import fitting
from routing.oversight.fitting import OF, RECENT, Classifier, Memory, check_choice
from routing.oversight.parts import part
from routing.oversight.treatment import Rollout, seen_rewards


@part("reward", world=("bad verdicts",))
class taint:  # noqa: N801  (the name of the part)
    """A bad verdict counts `dose` times, also for steps without verdict that look like one ever judged bad.

    Args:
        seed: of the network of `match=model`.
        dose: factor of bad verdicts; for a match, of the mean bad verdict so far.
        of: endings or steps.
        sees: agent or flags: the agent's observation without or with the entries that reveal what is watched.
        match: exact or model.
    """

    def __init__(
        self, seed: int, dose: float = 1.0, of: str = "endings", sees: str = "agent", match: str = "exact"
    ) -> None:
        if dose < 0:
            raise ValueError(f"taint has dose {dose:g}; a penalty is 0 or more")
        self.dose = dose
        self.of = check_choice("taint", "of", of, OF)
        self.sees = check_choice("taint", "sees", sees, ("agent", "flags"))
        self.exact = check_choice("taint", "match", match, ("exact", "model")) == "exact"
        self.flagged: dict[bytes, None] = {}  # observations that were judged bad, in order; for exact matches
        self.bad, self.others = Memory(seed, RECENT), Memory(seed + 1, RECENT)  # for the model
        self.learned = Classifier(seed)
        self.total, self.count = 0.0, 0  # of bad verdicts so far

    def __call__(self, rollout: Rollout) -> np.ndarray:
        seen, steps = rollout.feedback.seen, fitting.steps_of(rollout, self.of)
        rewards = seen_rewards(rollout) * np.where(seen < 0, self.dose, 1.0)
        verdicts = seen[steps]
        features = np.ascontiguousarray(fitting.features_of(rollout, self.of, self.sees))
        self._remember(features, verdicts)
        if self.count:
            matches = self._match(features, rollout) & np.isnan(verdicts)
            rewards[steps] = np.where(matches, self.dose * self.total / self.count, rewards[steps])
        return rewards

    def _remember(self, features: np.ndarray, verdicts: np.ndarray) -> None:
        bad = verdicts < 0
        self.total += float(verdicts[bad].sum())
        self.count += int(bad.sum())
        if self.exact:
            self.flagged.update((row.tobytes(), None) for row in features[bad])
        else:
            self.bad.add(features[bad], verdicts[bad])
            self.others.add(features[~bad], verdicts[~bad])

    def _match(self, features: np.ndarray, rollout: Rollout) -> np.ndarray:
        """(n, d) -> (n,) bool."""
        if self.exact:
            return np.fromiter((row.tobytes() in self.flagged for row in features), bool, len(features))
        others = self.others.features
        if not len(others):
            return np.ones(len(features), bool)
        drawn = self.learned.rng.integers(len(self.bad), size=len(others))  # as many bad ones as others
        samples = np.concatenate([self.bad.features[drawn], others])
        self.learned.fit(samples, np.repeat([1.0, 0.0], len(others)), fitting.steps_for(rollout))
        return self.learned.outputs(features) > 0

    def snapshot(self) -> dict[str, Any]:
        """Return what was judged bad, and the network with its data."""
        keys = np.frombuffer(b"".join(self.flagged), np.uint8).reshape(len(self.flagged), -1 if self.flagged else 0)
        memories = {"bad": self.bad.snapshot(), "others": self.others.snapshot()}
        counts = {"total": self.total, "count": self.count}
        return {"flagged": keys.copy(), "learned": self.learned.snapshot(), **memories, **counts}

    def restore(self, state: dict[str, Any]) -> None:
        """Restore the state returned by `snapshot`."""
        self.flagged = dict.fromkeys(row.tobytes() for row in state["flagged"])
        for name in ("learned", "bad", "others"):
            getattr(self, name).restore(state[name])
        self.total, self.count = state["total"], state["count"]
