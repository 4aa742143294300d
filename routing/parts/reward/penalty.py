"""Doses of penalty: a step that the overseer judges bad costs `dose` times its verdict.

Dose 1 is the reward `verdict`. Where bad acts are seen with probability p and earn the proxy reward 1 otherwise, their
expected reward is -1 at dose (2 - p) / p: p (-dose) + (1 - p) 1 = -1.
"""

import math

import numpy as np

from routing.oversight.parts import part
from routing.oversight.treatment import Rollout, seen_rewards


@part("reward", world=("bad verdicts",))
def penalty(rollout: Rollout, dose: float = 1.0, cap: float = math.inf) -> np.ndarray:
    """As verdict; a bad verdict is multiplied by `dose`, and the proxy reward without a verdict is at most `cap`."""
    if dose < 0:
        raise ValueError(f"penalty has dose {dose:g}; a penalty is 0 or more")
    score = rollout.feedback.score
    believed = np.where(np.isnan(score), np.minimum(rollout.rewards, cap), score)
    return believed * np.where(score < 0, dose, 1.0)


@part("reward", world=("bad verdicts",))
def unbiased_penalty(rollout: Rollout) -> np.ndarray:
    """As penalty with dose (2 - p) / p for the declared propensity p: an act of proxy reward 1 is worth -1 if bad."""
    p = rollout.feedback.propensity
    if not 0 < p <= 1:
        raise ValueError(
            f"reward=unbiased_penalty divides by the probability p that an act is seen, which is {p:g} here; it needs "
            "an environment that declares a positive oversight_prob: use reward=penalty with a dose"
        )
    return seen_rewards(rollout) * np.where(rollout.feedback.seen < 0, (2 - p) / p, 1.0)
