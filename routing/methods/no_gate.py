"""The control for the gate: routing with the experts mixed half and half.

The action head has only ever read half of each expert, so the expert that is kept is deployed at that scale and,
separately, at the full scale that the gated method uses: they are different policies.
"""

from routing.methods.gradient_routing import routed, weighted
from routing.oversight.registry import Deployment, method
from routing.oversight.treatment import Rollout, Treatment

HALF = Deployment("half", (0.5, 0.0))
FULL = Deployment("full", (1.0, 0.0))


@method(deployments=(HALF, FULL), gated=False, baseline=False)
def no_gate(rollout: Rollout) -> Treatment:
    """Gradient routing without a gate: the experts are mixed half and half."""
    return routed(weighted(rollout), rollout)
