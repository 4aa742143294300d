"""Delay: a verdict on a step arrives some steps later, and is taken for a verdict on the step at which it arrives.

Verdicts under way at the end of a rollout arrive in the next one, and are saved with the run. The delay is in steps of
a copy, across the ends of its episodes, so it needs rollouts that continue: not whole episodes.
"""

from typing import Any

import numpy as np

from routing.oversight.limits import limit
from routing.oversight.overseer import View


@limit
class delay:  # noqa: N801  (the name of the limit)
    """A verdict arrives `steps` steps of the same copy later, and counts for the step at which it arrives."""

    def __init__(self, seed: int, steps: int = 1) -> None:
        if steps < 0:
            raise ValueError(f"delay has {steps} steps; give 0 or more")
        self.steps = steps
        self.under_way: np.ndarray | None = None  # (steps, N)

    def __call__(self, view: View) -> View:
        assert view.verdict is not None  # the buffer computes it
        if view.whole:
            raise ValueError("delay needs rollouts of a fixed number of steps; leave out --whole-episodes")
        if self.under_way is None:
            self.under_way = np.full((self.steps, view.verdict.shape[1]), np.nan)
        verdicts = np.concatenate([self.under_way, view.verdict])
        self.under_way = verdicts[len(view.verdict) :]
        return view._replace(verdict=verdicts[: len(view.verdict)])

    def snapshot(self) -> dict[str, Any]:
        """Return the verdicts under way."""
        return {} if self.under_way is None else {"under_way": self.under_way.copy()}

    def restore(self, state: dict[str, Any]) -> None:
        """Restore the verdicts under way."""
        self.under_way = state["under_way"].copy() if "under_way" in state else None
