"""Gradient routing at the levels `forward_ablated` and `adapter` (docs/routing.md describes what each level stops).

If the forget expert's output is 0 on the episodes that do not train it (Shilov et al. 2025, arXiv 2512.05648), other
blocks cannot learn from these episodes to rely on it. With adapters both experts share one frozen network that never
changes. Level `parameter` is not a separate arm: for a whole expert its update equals that of `gradient_routing`.
"""

from routing.methods.gradient_routing import routed, weighted
from routing.oversight.registry import RETAIN_ALONE, method
from routing.oversight.treatment import Rollout, Treatment


@method(deployments=(RETAIN_ALONE,), gate_loss=True, baseline=False, level="forward_ablated")
def gradient_routing_ablated(rollout: Rollout) -> Treatment:
    """Gradient routing with the forget expert's output set to 0 on good episodes."""
    return routed(weighted(rollout), rollout)


@method(deployments=(RETAIN_ALONE,), gated=False, baseline=False, level="adapter")
def gradient_routing_adapter(rollout: Rollout) -> Treatment:
    """Gradient routing into two adapters of one frozen network; one adapter is deployed."""
    return routed(weighted(rollout), rollout)
