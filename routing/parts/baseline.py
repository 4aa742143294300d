"""Samples from whose return the critic's value is subtracted: (Rollout) -> (T, N) bool; the others use the return.

A critic that learns from samples whose route depends on their outcome has learned the proxy return of that outcome, and
subtracts it.
"""

import numpy as np

from routing.oversight.parts import part
from routing.oversight.treatment import Rollout, episode_labels, judged


@part("baseline", "all")
def every(rollout: Rollout) -> np.ndarray:
    """The critic's value is subtracted on all samples."""
    return np.ones(rollout.rewards.shape, bool)


@part("baseline")
def unjudged(rollout: Rollout) -> np.ndarray:
    """The critic's value is not subtracted on episodes with a good or bad verdict."""
    return ~judged(episode_labels(rollout.feedback))


@part("baseline")
def none(rollout: Rollout) -> np.ndarray:
    """The critic's value is subtracted nowhere: plain returns."""
    return np.zeros(rollout.rewards.shape, bool)
