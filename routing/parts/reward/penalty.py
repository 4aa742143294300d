"""A dose of penalty: a step that the overseer judges bad costs `dose` times its verdict.

Dose 1 is the reward `verdict`. Where bad acts are seen with probability p and earn the proxy reward 1 otherwise, their
expected reward is -1 at dose (2 - p) / p.
"""

import numpy as np

from routing.oversight.parts import part
from routing.oversight.treatment import Rollout, believed_rewards


@part("reward", world=("bad verdicts",))
def penalty(rollout: Rollout, dose: float = 1.0) -> np.ndarray:
    """As verdict, and a bad verdict is multiplied by `dose`."""
    if dose < 0:
        raise ValueError(f"penalty has dose {dose:g}; a penalty is 0 or more")
    return believed_rewards(rollout) * np.where(rollout.feedback.score < 0, dose, 1.0)
