"""The masks of gradient routing (Cloud et al. 2024, arXiv 2410.04332, section 4.3).

h = gate * retain(x) + (1 - gate) * forget(x); logits = W h. A good episode trains only the retain expert, a bad one
only the forget experts, and neither trains the gate through the policy's loss. Episodes without a verdict train every
block. The reward is not changed: the verdict determines where the policy learns, not what it learns. The critic, and a
shared action head W, are in no block and learn from all samples.

There are two options. Of the experts, unlabelled episodes (without a verdict, unfinished, or that reached nothing) can
train the retain expert alone (`unlabelled=retain`, as in GRAFT, 2026) or the forget experts alone; the gate learns from
them in any case. With `push` the gradient of a bad episode in the retain expert is multiplied by -push instead of 0, so
the expert that is deployed moves away from what was judged bad.
"""

import numpy as np

from routing.oversight.fitting import check_choice
from routing.oversight.parts import part
from routing.oversight.treatment import GATE, RETAIN, Rollout, unmasked

FORGET = slice(RETAIN + 1, GATE)
UNLABELLED = ("both", "retain", "forget")


def masks_by_label(rollout: Rollout, labels: np.ndarray, unlabelled: str = "both", push: float = 0.0) -> np.ndarray:
    """Compute the masks of gradient routing.

    Args:
        rollout: T steps of N copies.
        labels: (T, N); positive: good, negative: bad, 0 or nan: no label.
        unlabelled: the experts that samples without a label train: both, retain or forget.
        push: minus the weight of a bad sample's gradient in the retain expert.

    Returns:
        (T, N, M): good samples train retain, bad ones forget, neither trains the gate.

    Raises:
        ValueError: an option has another value.
    """
    check_choice("masks", "unlabelled", unlabelled, UNLABELLED)
    if not 0 <= push < np.inf:
        raise ValueError(f"masks have push {push:g}; give a finite number of 0 or more")
    masks = unmasked(rollout)
    good, bad = labels > 0, labels < 0  # nan compares false: episodes without a verdict train every block
    masks[good | bad, GATE] = 0
    masks[good, FORGET] = 0
    masks[bad, RETAIN] = 0.0 - push  # not -0.0
    if unlabelled != "both":
        masks[~(good | bad), FORGET if unlabelled == "retain" else RETAIN] = 0
    return masks


def to_expert_of_kind(masks: np.ndarray, bad: np.ndarray, kinds: np.ndarray) -> np.ndarray:
    """Limit the masks of bad samples to the forget expert of their kind.

    Args:
        masks: (T, N, M), which are changed.
        bad: (T, N) bool.
        kinds: (T, N) int, from 1; 0, an unknown kind, counts as 1, and kinds beyond the last expert share it.
    """
    experts = masks.shape[-1] - 2  # that are ablated
    own = np.eye(experts, dtype=masks.dtype)[kinds.clip(1, experts) - 1]
    masks[bad, FORGET] *= own[bad]
    return masks


@part("masks", needs=("forget",))
def routed(rollout: Rollout, unlabelled: str = "both", push: float = 0.0) -> np.ndarray:
    """Good episodes train the retain expert, bad ones the forget experts, those without a verdict every block."""
    return masks_by_label(rollout, rollout.labels, unlabelled, push)


@part("masks", needs=("forget",))
def by_kind(rollout: Rollout, unlabelled: str = "both", push: float = 0.0) -> np.ndarray:
    """As routed, and a bad episode trains only the forget expert of its kind of bad verdict.

    Kinds are the overseer's bad labels in their order; those beyond the number of experts share the last. Any subset of
    experts can then be ablated (GRAM, 2026).
    """
    masks = masks_by_label(rollout, rollout.labels, unlabelled, push)
    return to_expert_of_kind(masks, rollout.labels < 0, rollout.bad_kinds)
