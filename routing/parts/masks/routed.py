"""The masks of gradient routing (Cloud et al. 2024, arXiv 2410.04332, section 4.3).

h = gate * retain(x) + (1 - gate) * forget(x); logits = W h. A good episode trains only the retain expert, a bad one
only the forget experts, and neither trains the gate through the policy's loss. Episodes without a verdict train every
block. The reward is not changed: the verdict determines where the policy learns, not what it learns. The critic, and a
shared action head W, are in no block and learn from all samples.
"""

import numpy as np

from routing.oversight.parts import part
from routing.oversight.treatment import GATE, RETAIN, Rollout, unmasked

FORGET = slice(RETAIN + 1, GATE)


def masks_by_label(rollout: Rollout, labels: np.ndarray) -> np.ndarray:
    """(T, N) labels -> (T, N, M) masks: good episodes train retain, bad ones forget, neither trains the gate."""
    masks = unmasked(rollout)
    good, bad = labels > 0, labels < 0  # nan compares false: episodes without a verdict train every block
    masks[good | bad, GATE] = 0
    masks[good, FORGET] = 0
    masks[bad, RETAIN] = 0
    return masks


@part("masks", needs=("forget",))
def routed(rollout: Rollout) -> np.ndarray:
    """Good episodes train the retain expert, bad ones the forget experts, those without a verdict every block."""
    return masks_by_label(rollout, rollout.labels)
