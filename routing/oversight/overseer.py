"""Overseers: functions from a view of a rollout to feedback.

A limit of an overseer (noise, budget, delay) is a wrapper: a function from overseer to overseer.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from routing.oversight.treatment import Feedback


class View(NamedTuple):
    """The data of a rollout that an overseer may read. Only the all-seeing overseer reads the true reward."""

    overseer_obs: np.ndarray  # (T, N) int
    true_reward: np.ndarray  # (T, N) float
    dones: np.ndarray  # (T, N) bool


Overseer = Callable[[View], Feedback]


def limited(judgement: np.ndarray, propensity: float) -> Overseer:
    """Build the world's own overseer, whose verdict depends on the overseer observation alone.

    Args:
        judgement: (O,) float, the verdict on each overseer observation; nan: no verdict.
        propensity: probability that an episode end is judged.
    """

    def judge(view: View) -> Feedback:
        return Feedback(judgement[view.overseer_obs], view.dones, propensity)

    return judge


def all_seeing(judgement: np.ndarray, propensity: float) -> Overseer:
    """Build an overseer whose verdict on every step is the true reward. Takes the arguments of `limited`."""

    def judge(view: View) -> Feedback:
        return Feedback(view.true_reward.astype(float), view.dones, 1.0)

    return judge


def flipped(overseer: Overseer, flip_prob: float, rng: np.random.Generator) -> Overseer:
    """Wrap an overseer so that its verdict on an episode end is reversed with probability `flip_prob`.

    Args:
        overseer: the overseer to wrap.
        flip_prob: probability of a reversed verdict, independent for each episode end.
        rng: source of the randomness.
    """

    def judge(view: View) -> Feedback:
        feedback = overseer(view)
        flip = view.dones & (rng.random(view.dones.shape) < flip_prob)
        return feedback._replace(score=np.where(flip, -feedback.score, feedback.score))

    return judge
