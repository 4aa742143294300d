"""The overseer turns what it sees of a rollout into feedback. What limits it (noise, budget, delay) is a wrapper:
a function from overseer to overseer.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from routing.oversight.treatment import Feedback


class View(NamedTuple):
    """What there is to see of a rollout. Only an all-seeing overseer looks at the true reward."""

    overseer_obs: np.ndarray  # (T, N) int
    true_reward: np.ndarray  # (T, N) float
    dones: np.ndarray  # (T, N) bool


Overseer = Callable[[View], Feedback]


def limited(judgement: np.ndarray, propensity: float) -> Overseer:
    """The world's own overseer: it judges by its observation alone.

    Args:
        judgement: (L,) float, the verdict on each overseer observation; nan where it cannot tell.
        propensity: probability that an ending is judged.
    """

    def look(view: View) -> Feedback:
        return Feedback(judgement[view.overseer_obs], view.dones, propensity)

    return look


def all_seeing(judgement: np.ndarray, propensity: float) -> Overseer:
    """An overseer from whom nothing is hidden: its verdict is the true reward."""

    def look(view: View) -> Feedback:
        return Feedback(view.true_reward.astype(float), view.dones, 1.0)

    return look


def flipped(overseer: Overseer, flip_prob: float, rng: np.random.Generator) -> Overseer:
    """The same overseer, whose verdict on an ending is reversed with probability `flip_prob`."""

    def look(view: View) -> Feedback:
        feedback = overseer(view)
        flip = view.dones & (rng.random(view.dones.shape) < flip_prob)
        return feedback._replace(score=np.where(flip, -feedback.score, feedback.score))

    return look
