"""Control for the gate: routing with both experts at coefficient 1/2.

During training the action head reads half of each expert's output. The retain expert is therefore deployed at scale
1/2 and, as a separate deployment rule, at scale 1 as in the gated method. These are different policies.
"""

from routing.methods.gradient_routing import routed, weighted
from routing.oversight.registry import Deployment, method
from routing.oversight.treatment import Rollout, Treatment

HALF = Deployment("half", (0.5, 0.0))
FULL = Deployment("full", (1.0, 0.0))


@method(deployments=(HALF, FULL), gated=False, baseline=False)
def no_gate(rollout: Rollout) -> Treatment:
    """Gradient routing without a gate: both experts have coefficient 1/2."""
    return routed(weighted(rollout), rollout)
