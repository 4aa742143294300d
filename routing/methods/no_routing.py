"""The control for the masks: gradient routing's experts, gate, gate loss and weights; every gradient everywhere."""

from routing.methods.gradient_routing import weighted
from routing.oversight.registry import RETAIN_ALONE, method
from routing.oversight.treatment import Rollout, Treatment


@method(deployments=(RETAIN_ALONE,), gate_loss=True)
def no_routing(rollout: Rollout) -> Treatment:
    """Gradient routing's network and gate loss, without the masks."""
    return weighted(rollout)
