"""Overseers: (judgement (O,), propensity) -> Overseer. `judgement` is the world's verdict on overseer observations.

In a world with audits the overseer has two kinds of verdict: what it believes of an episode that it did not audit, and
the true reward of each step of one that it did. Naive oversight is rewarded by both. Filters, weights, masks and reward
models take a step that was not audited for one without a verdict, unless the overseer is `trusted`.
"""

import numpy as np

from routing.oversight.overseer import Overseer, View, all_seeing, limited
from routing.oversight.parts import part
from routing.oversight.treatment import Feedback


@part("overseer")
def own(judgement: np.ndarray, propensity: float) -> Overseer:
    """The world's own overseer; where it audits, only what it audited counts as seen."""
    return limited(judgement, propensity)


@part("overseer")
def trusted(judgement: np.ndarray, propensity: float) -> Overseer:
    """As own, and every verdict counts as seen, also on episodes that were not audited."""
    own_overseer = limited(judgement, propensity)

    def judge(view: View) -> Feedback:
        return own_overseer(view)._replace(audited=None)

    return judge


@part("overseer", "all_seeing")
def seeing(judgement: np.ndarray, propensity: float, declared: bool = False) -> Overseer:
    """The verdict on every step is the true reward; with `declared` the propensity is the world's, otherwise 1.

    No overseer of the world can observe it. The world's propensity is read by parts such as weights=random_episodes.
    """
    true_reward = all_seeing(judgement, propensity)
    if not declared:
        return true_reward

    def judge(view: View) -> Feedback:
        return true_reward(view)._replace(propensity=propensity)

    return judge


@part("overseer")
def none(judgement: np.ndarray, propensity: float) -> Overseer:
    """There is never a verdict; the world stays as it is, also where it shows the agent what is watched."""

    def judge(view: View) -> Feedback:
        return Feedback(np.full(view.dones.shape, np.nan), view.dones, propensity)

    return judge
