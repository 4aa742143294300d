"""Gradient routing at other levels than the gradient into an expert (docs/routing.md says what each stops).

With the forget expert silent on the episodes that do not train it (Shilov et al. 2025, arXiv 2512.05648), what they
teach cannot come to rely on it. Adapters put both experts on one frozen network, which then moves exactly nothing.
Masking an expert's parameters is no arm of its own: for a whole expert it is the same update as `gradient_routing`.
"""

from routing.methods.gradient_routing import routed, weighted
from routing.oversight.registry import RETAIN_ALONE, method
from routing.oversight.treatment import Rollout, Treatment


@method(deployments=(RETAIN_ALONE,), gate_loss=True, baseline=False, level="forward_ablated")
def gradient_routing_ablated(rollout: Rollout) -> Treatment:
    """Gradient routing, the forget expert silent in the forward pass of good episodes."""
    return routed(weighted(rollout), rollout)


@method(deployments=(RETAIN_ALONE,), gated=False, baseline=False, level="adapter")
def gradient_routing_adapter(rollout: Rollout) -> Treatment:
    """Gradient routing into two adapters of one frozen network, of which one is kept."""
    return routed(weighted(rollout), rollout)
