"""Overseers: (judgement (O,), propensity) -> Overseer. `judgement` is the world's verdict on overseer observations."""

import numpy as np

from routing.oversight.overseer import Overseer, View, all_seeing, limited
from routing.oversight.parts import part
from routing.oversight.treatment import Feedback


@part("overseer")
def own(judgement: np.ndarray, propensity: float) -> Overseer:
    """The world's own overseer, whose verdict depends on its observation alone."""
    return limited(judgement, propensity)


@part("overseer", "all_seeing")
def seeing(judgement: np.ndarray, propensity: float) -> Overseer:
    """The verdict on every step is the true reward, which no overseer of the world can observe."""
    return all_seeing(judgement, propensity)


@part("overseer")
def none(judgement: np.ndarray, propensity: float) -> Overseer:
    """There is never a verdict; the world stays as it is, also where it shows the agent what is watched."""

    def judge(view: View) -> Feedback:
        return Feedback(np.full(view.dones.shape, np.nan), view.dones, propensity)

    return judge
