"""The control for the masks: experts, gate and the gate's loss as in gradient routing, and every gradient everywhere."""

from routing.registry import RETAIN_ALONE, method
from routing.treatment import Rollout, Treatment, untreated


@method(deployments=(RETAIN_ALONE,), gate_loss=True)
def no_routing(rollout: Rollout) -> Treatment:
    """Gradient routing's network and gate loss, without the masks."""
    return untreated(rollout)
