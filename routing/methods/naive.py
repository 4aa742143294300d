"""The overseer's verdict replaces the reward where there is one; all samples train all of the policy.

An unseen ghost is worth as much as a diamond, and an agent that is told where it is watched learns that.
"""

from routing.registry import method
from routing.treatment import Rollout, Treatment, believed_rewards, untreated


@method()
def naive(rollout: Rollout) -> Treatment:
    """The overseer's verdict where it has one, the proxy reward elsewhere."""
    return untreated(rollout)._replace(rewards=believed_rewards(rollout))
