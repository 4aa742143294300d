"""Control for the masks: the experts, gate, gate loss and weights of gradient routing, without masks."""

from routing.methods.gradient_routing import weighted
from routing.oversight.registry import RETAIN_ALONE, method
from routing.oversight.treatment import Rollout, Treatment


@method(deployments=(RETAIN_ALONE,), gate_loss=True)
def no_routing(rollout: Rollout) -> Treatment:
    """The network, weights and gate loss of gradient routing, without its masks."""
    return weighted(rollout)
