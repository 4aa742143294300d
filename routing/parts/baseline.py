"""Samples from whose return the critic's value is subtracted: (Rollout) -> (T, N) bool; the others use the return.

A critic that learns from samples whose route depends on their outcome has learned the proxy return of that outcome, and
subtracts it. More changes with the baseline: samples without one use the return of the whole episode (lambda 1 of
generalised advantage estimation), the value of what follows where a rollout cuts the episode, and are not centred, so
they may have a larger share of the loss.
"""

import numpy as np

from routing.oversight.parts import part
from routing.oversight.treatment import Rollout, judged


@part("baseline", "all")
def every(rollout: Rollout) -> np.ndarray:
    """The critic's value is subtracted on all samples."""
    return np.ones(rollout.rewards.shape, bool)


@part("baseline")
def unjudged(rollout: Rollout) -> np.ndarray:
    """On episodes with a good or bad verdict no value is subtracted: their advantage is the return, not centred."""
    return ~judged(rollout.labels)


@part("baseline")
def none(rollout: Rollout) -> np.ndarray:
    """No value is subtracted: advantages are returns, which go on with the critic's value where episodes are cut."""
    return np.zeros(rollout.rewards.shape, bool)
