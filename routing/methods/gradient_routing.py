"""Gradient routing (Cloud et al. 2024, arXiv 2410.04332, section 4.3).

h = gate * retain(x) + (1 - gate) * forget(x); logits = W h. A good episode updates only the retain expert, a bad one
only the forget expert, and neither updates the gate. Episodes without a verdict update everything. The reward is the
proxy reward throughout: the verdict determines where the policy learns, not what it learns. At deployment the forget
expert is ablated.

Both experts and the gate are routed. The action head W and the critic are shared and learn from all samples.

The paper weights all samples equally. While verdicts are few, the policy that collects them drifts by chance towards
diamonds or ghosts, and results vary widely between seeds. Judged episodes therefore have weight 1/p here, at most
`HEAVIEST`. `gradient_routing_paper` is the update as published.
"""

import numpy as np

from routing.oversight.registry import RETAIN_ALONE, method
from routing.oversight.treatment import (
    FORGET,
    GATE,
    RETAIN,
    Rollout,
    Treatment,
    episode_labels,
    inverse_propensity,
    untreated,
)

HEAVIEST = 10.0  # above this, the few judged episodes of a minibatch outweigh all exploring ones


def weighted(rollout: Rollout) -> Treatment:
    """Weight judged episodes by 1/p, at most `HEAVIEST`, without masks."""
    weights = np.minimum(inverse_propensity(rollout.feedback), HEAVIEST)
    return untreated(rollout)._replace(weights=weights)


def routed(treatment: Treatment, rollout: Rollout) -> Treatment:
    """Return the treatment with masks set by the verdict on each episode."""
    labels, masks = episode_labels(rollout.feedback), treatment.masks.copy()
    good, bad = labels > 0, labels < 0  # nan compares false: episodes without a verdict train every block
    masks[good | bad, GATE] = 0
    masks[good, FORGET] = 0
    masks[bad, RETAIN] = 0
    return treatment._replace(masks=masks)


@method(deployments=(RETAIN_ALONE,), gate_loss=True, baseline=False)
def gradient_routing(rollout: Rollout) -> Treatment:
    """Good episodes train one expert, bad episodes another that is ablated at deployment."""
    return routed(weighted(rollout), rollout)


@method(deployments=(RETAIN_ALONE,), gate_loss=True, baseline=False)
def gradient_routing_paper(rollout: Rollout) -> Treatment:
    """Gradient routing as published: judged episodes have the same weight as others."""
    return routed(untreated(rollout), rollout)
