"""Inverse propensity weights: judged episodes count 1/p, so that rare verdicts are not outvoted.

Without a cap, with the verdict as reward, and where being judged does not depend on what the agent does, the expected
gradient on judged kinds of episode is that of full oversight. An agent that sees what is watched can make it depend. A
cap trades this for variance: above it, the few judged episodes of a minibatch outweigh all others.
"""

import math

import numpy as np

from routing.oversight.parts import part
from routing.oversight.treatment import Rollout, inverse_propensity


@part("weights")
def ipw(rollout: Rollout, cap: float = math.inf) -> np.ndarray:
    """Weight 1/p, at most `cap`, on judged episodes, p being the overseer's declared propensity."""
    if cap < 1:
        raise ValueError(f"ipw has cap {cap:g}; a weight is at least 1, and `weights=one` weighs nothing")
    return np.minimum(inverse_propensity(rollout), cap)
