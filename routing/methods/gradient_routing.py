"""Gradient routing (Cloud et al. 2024, arXiv 2410.04332, section 4.3).

h = gate * retain(x) + (1 - gate) * forget(x); logits = W h. A good episode updates the retain expert alone, a bad
one the forget expert alone, neither reaches the gate; what the overseer could not judge updates everything. The reward
is the proxy throughout: the verdict says where to learn, never what. At deployment the forget expert is ablated.

Localised: both experts and the gate. Shared, and learning from all samples: the action head W and the critic.

The paper weighs all samples alike. While verdicts are few, the policy that collects them then drifts by chance towards
diamonds or towards ghosts, and what is learned differs much between seeds; so judged episodes weigh 1/p here, at most
`HEAVIEST`. The update as published is `gradient_routing_paper`.
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

HEAVIEST = 10.0  # more, and the few judged episodes of a minibatch outweigh all that explores


def weighted(rollout: Rollout) -> Treatment:
    """Judged episodes weigh 1/p, at most `HEAVIEST`; nothing is masked."""
    weights = np.minimum(inverse_propensity(rollout.feedback), HEAVIEST)
    return untreated(rollout)._replace(weights=weights)


def routed(treatment: Treatment, rollout: Rollout) -> Treatment:
    """The treatment with masks by the verdict on the episode."""
    labels, masks = episode_labels(rollout.feedback), treatment.masks.copy()
    good, bad = labels > 0, labels < 0  # nan compares false: unseen and unfinished go everywhere
    masks[good | bad, GATE] = 0
    masks[good, FORGET] = 0
    masks[bad, RETAIN] = 0
    return treatment._replace(masks=masks)


@method(deployments=(RETAIN_ALONE,), gate_loss=True, baseline=False)
def gradient_routing(rollout: Rollout) -> Treatment:
    """Verdicts route gradients: good episodes to one expert, bad ones to another that is ablated at deployment."""
    return routed(weighted(rollout), rollout)


@method(deployments=(RETAIN_ALONE,), gate_loss=True, baseline=False)
def gradient_routing_paper(rollout: Rollout) -> Treatment:
    """Gradient routing as published: judged episodes weigh no more than others."""
    return routed(untreated(rollout), rollout)
