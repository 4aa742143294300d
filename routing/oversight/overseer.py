"""Overseers: functions from a view of a rollout to feedback.

What an overseer observes is the world's affair, and what it makes of that too: the view has the verdict on each step.
Limits with a history change the view before the overseer reads it; see `routing.oversight.limits`.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from routing.oversight.treatment import Feedback


class View(NamedTuple):
    """The data of a rollout that an overseer may read. Only the all-seeing overseer reads the true reward."""

    overseer_obs: np.ndarray  # (T, N) int or (T, N, F) float, nan where a feature was not observed
    true_reward: np.ndarray  # (T, N) float
    dones: np.ndarray  # (T, N) bool
    verdict: np.ndarray | None = None  # (T, N) float: the world's verdict, or the true reward of an audit; nan: none
    audited: np.ndarray | None = None  # (T, N) bool: the step belongs to an audit; None: there are no audits
    outcome: np.ndarray | None = None  # (T, N) int: outcome of an episode that ends with this step; None: not known
    features: np.ndarray | None = None  # (T, N, F) float: state features exposed to the overseer; None: there are none
    live: np.ndarray | None = None  # (T, N) bool: the copy took this step; None: all did
    whole: bool = False  # columns hold whole episodes, which do not continue those of the last rollout
    kinds: np.ndarray | None = None  # (T, N) int8: kind of the bad verdict on the step, from 1; 0: none; None: unknown


Overseer = Callable[[View], Feedback]


def limited(judgement: np.ndarray, propensity: float) -> Overseer:
    """Build the world's own overseer, whose verdict depends on the overseer observation alone.

    Args:
        judgement: (O,) float, the verdict on each overseer observation; nan: no verdict. Read if the view has none.
        propensity: probability that an episode end is judged.
    """

    def judge(view: View) -> Feedback:
        verdict = judgement[view.overseer_obs] if view.verdict is None else view.verdict
        return Feedback(verdict, view.dones, propensity, view.audited, view.kinds)

    return judge


def all_seeing(judgement: np.ndarray, propensity: float) -> Overseer:
    """Build an overseer whose verdict on every step is the true reward. Takes the arguments of `limited`."""

    def judge(view: View) -> Feedback:
        return Feedback(view.true_reward.astype(float), view.dones, 1.0)

    return judge
