"""Naive oversight, stopped early: the policy passes through good behaviour before it finds the blind spot.

What decides when to stop is the whole question. The overseer can read its own verdicts; the true return it cannot.
"""

from routing.methods.naive import naive
from routing.registry import Deployment, method
from routing.treatment import Rollout, Treatment


@method(
    deployments=(
        Deployment("labelled", selects_by="oversight/labelled_return"),
        Deployment("true_return", selects_by="eval/true_return/whole", leaky=True),
    )
)
def naive_early_stopping(rollout: Rollout) -> Treatment:
    """Naive oversight, deployed from the checkpoint with the best verdicts (or, leaky, the best true return)."""
    return naive(rollout)
