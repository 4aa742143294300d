"""A budget: the overseer gives only so many verdicts on endings, in a run or in each rollout.

Once it is spent there are no verdicts, on endings and on steps, so every update after that is without oversight. The
order is that of time; of endings at the same time, that of the copies. In a world with audits only audited endings
spend the budget: what the overseer believes of the others costs it nothing. What is left is saved with the run.
"""

from typing import Any

import numpy as np

from routing.oversight.limits import limit
from routing.oversight.overseer import View
from routing.oversight.treatment import judged


@limit
class budget:  # noqa: N801  (the name of the limit)
    """The overseer gives verdicts until it has judged `verdicts` endings good or bad, in each `run` or `rollout`."""

    def __init__(self, seed: int, verdicts: int = 1000, of: str = "run") -> None:
        if verdicts < 0:
            raise ValueError(f"budget has {verdicts} verdicts; give 0 or more")
        if of not in ("run", "rollout"):
            raise ValueError(f"budget is one of {of!r}; use run or rollout")
        self.verdicts, self.of = verdicts, of
        self.left = verdicts

    def __call__(self, view: View) -> View:
        assert view.verdict is not None  # the buffer computes it
        looked = np.ones(view.dones.shape, bool) if view.audited is None else view.audited
        spent = (judged(view.verdict) & view.dones & looked).ravel()
        before = (np.cumsum(spent) - spent).reshape(view.dones.shape)
        left = self.verdicts if self.of == "rollout" else self.left
        allowed = before < left
        self.left = left - min(int(spent.sum()), left)
        return view._replace(verdict=np.where(allowed, view.verdict, np.nan))

    def snapshot(self) -> dict[str, Any]:
        """Return what is left."""
        return {"left": self.left}

    def restore(self, state: dict[str, Any]) -> None:
        """Restore what was left."""
        self.left = state["left"]
