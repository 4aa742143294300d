"""Naive oversight: the verdict replaces the proxy reward where there is one; all samples train the whole policy.

An unseen ghost earns the same reward as a diamond, and an agent that observes whether it is watched learns this.
During training the policy passes through good behaviour, so stopping early would keep some of it. The stopping rule is
decisive: the overseer can read its own verdicts but not the true return.
"""

from routing.oversight.registry import WHOLE, Deployment, method
from routing.oversight.treatment import Rollout, Treatment, believed_rewards, untreated


@method(
    deployments=(
        WHOLE,
        Deployment("early_stopping", selects_by="oversight/labelled_return"),
        Deployment("best_checkpoint", selects_by="eval/true_return/whole", leaky=True),
    )
)
def naive(rollout: Rollout) -> Treatment:
    """The verdict is the reward where there is one, the proxy reward elsewhere."""
    return untreated(rollout)._replace(rewards=believed_rewards(rollout))
