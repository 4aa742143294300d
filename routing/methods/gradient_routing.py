"""Gradient routing (Cloud et al. 2024, arXiv 2410.04332, section 4.3).

h = gate * retain(x) + (1 - gate) * forget(x); logits = W h. A good episode updates the retain expert alone, a bad one
the forget expert alone, neither reaches the gate; what the overseer could not judge updates everything. The reward is
the proxy throughout: the overseer's verdict says where to learn, never what. At deployment the forget expert is ablated.

Localised: both experts and the gate. Shared, and learning from all samples: the action head W and the critic.
"""

from routing.registry import RETAIN_ALONE, method
from routing.treatment import FORGET, GATE, RETAIN, Rollout, Treatment, episode_labels, untreated


def route(rollout: Rollout) -> Treatment:
    """Masks by the verdict on the episode; rewards and weights untouched."""
    labels = episode_labels(rollout.feedback)
    treatment = untreated(rollout)
    good, bad = labels > 0, labels < 0  # nan compares false: unseen and unfinished go everywhere
    treatment.masks[good | bad, GATE] = 0
    treatment.masks[good, FORGET] = 0
    treatment.masks[bad, RETAIN] = 0
    return treatment


@method(deployments=(RETAIN_ALONE,), gate_loss=True, baseline=False)
def gradient_routing(rollout: Rollout) -> Treatment:
    """Verdicts route gradients: good episodes to one expert, bad ones to another that is ablated at deployment."""
    return route(rollout)
