"""The overseer's verdict replaces the reward where there is one; all samples train all of the policy.

An unseen ghost is worth as much as a diamond, and an agent that is told where it is watched learns that. On its way
there the policy passes through good behaviour: stopped in time it would keep some. What decides when to stop is the
whole question. The overseer can read its own verdicts; the true return it cannot.
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
    """The overseer's verdict where it has one, the proxy reward elsewhere."""
    return untreated(rollout)._replace(rewards=believed_rewards(rollout))
