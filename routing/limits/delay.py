"""Delay: a verdict on a step arrives some steps later, and is taken for a verdict on the step at which it arrives.

Verdicts under way at the end of a rollout arrive in the next one, and are saved with the run. The delay is in steps of
a copy, across the ends of its episodes, so it needs rollouts that continue: not whole episodes. The kind of a bad
verdict is delayed with it, and in a world with audits so is whether the verdict comes from an audit.
"""

from typing import Any

import numpy as np

from routing.oversight.limits import limit
from routing.oversight.overseer import View

UNDER_WAY = ("under_way", "audits_under_way", "kinds_under_way")
MAX_STEPS = 10_000  # all verdicts under way are held in memory and saved with the run


@limit
class delay:  # noqa: N801  (the name of the limit)
    """A verdict arrives `steps` steps of the same copy later, and counts for the step at which it arrives."""

    def __init__(self, seed: int, steps: int = 1) -> None:
        if steps < 0:
            raise ValueError(f"delay has {steps} steps; give 0 or more")
        if steps > MAX_STEPS:
            raise ValueError(f"delay has {steps} steps; give at most {MAX_STEPS}")
        self.steps = steps
        self.under_way: np.ndarray | None = None  # (steps, N) float: verdicts
        self.audits_under_way: np.ndarray | None = None  # (steps, N) bool: these come from audits; None: no audits
        self.kinds_under_way: np.ndarray | None = None  # (steps, N) int8: kinds of these; None: unknown

    def __call__(self, view: View) -> View:
        assert view.verdict is not None  # the buffer computes it
        if view.whole:
            raise ValueError("delay needs rollouts of a fixed number of steps; leave out --whole-episodes")
        if self.under_way is None:
            self.under_way = np.full((self.steps, view.verdict.shape[1]), np.nan)
        verdict, self.under_way = _shifted(self.under_way, view.verdict)
        if view.kinds is not None:
            if self.kinds_under_way is None:
                self.kinds_under_way = np.zeros(self.under_way.shape, np.int8)
            kinds, self.kinds_under_way = _shifted(self.kinds_under_way, view.kinds)
            view = view._replace(kinds=kinds)
        if view.audited is None:
            return view._replace(verdict=verdict)
        if self.audits_under_way is None:
            self.audits_under_way = np.zeros(self.under_way.shape, bool)
        audited, self.audits_under_way = _shifted(self.audits_under_way, view.audited)
        return view._replace(verdict=verdict, audited=audited)

    def snapshot(self) -> dict[str, Any]:
        """Return the verdicts under way."""
        held = {name: getattr(self, name) for name in UNDER_WAY}
        return {name: values.copy() for name, values in held.items() if values is not None}

    def restore(self, state: dict[str, Any]) -> None:
        """Restore the verdicts under way."""
        for name in UNDER_WAY:
            setattr(self, name, state[name].copy() if name in state else None)


def _shifted(under_way: np.ndarray, new: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What arrives in the T steps of a rollout, (T, N), and what is under way afterwards, as `under_way`."""
    both = np.concatenate([under_way, new])
    return both[: len(new)], both[len(new) :]
