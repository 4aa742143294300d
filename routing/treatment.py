"""What the overseer said, and how each sample therefore enters the update.

A `Treatment` is the whole of an oversight method as the learner sees it: naive oversight changes rewards,
filtering changes weights, gradient routing changes masks. The update never branches on the method.

Letters: T steps, N copies of the environment, M blocks of the policy.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

Array = np.ndarray


class Feedback(NamedTuple):
    """What the overseer said of a rollout."""

    score: Array  # (T, N) float: its verdict on the step; nan where it cannot tell
    dones: Array  # (T, N) bool: the episode ended with this step, at a true end or at the time limit
    propensity: float = float("nan")  # probability that an ending of this world is judged; nan: unknown


class Rollout(NamedTuple):
    """What a method may look at. The true reward is not among it."""

    rewards: Array  # (T, N) float: the proxy reward everyone sees
    reached: Array  # (T, N, *obs): the agent's observation of the state each step reached, before any reset
    flags: Array  # (*obs,) bool: entries of an observation that tell the agent what the overseer will see
    feedback: Feedback


class Treatment(NamedTuple):
    """How each sample enters the update."""

    rewards: Array  # (T, N) float: returns are computed from these
    weights: Array  # (T, N) float: multiplies the sample's loss; 0 filters it out
    masks: Array  # (T, N, M) float: multiplies the sample's gradient in each block


Method = Callable[[Rollout], Treatment]
