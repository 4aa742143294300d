"""Labels: the verdict by which a sample is filtered, weighted or routed: (Feedback) -> Labels.

In a world with audits, a step that was not audited has no label, whatever the overseer believes of it: see `overseer`.
"""

import numpy as np

from routing.oversight.parts import part
from routing.oversight.treatment import Feedback, Labels, episode_labels, spread_from_ends


@part("label")
def ending(feedback: Feedback) -> Labels:
    """The verdict on the end of the sample's episode."""
    return Labels(episode_labels(feedback))


@part("label")
def step(feedback: Feedback) -> Labels:
    """The verdict on the step itself."""
    return Labels(feedback.seen, by_step=True)


@part("label", "return")
def total(feedback: Feedback, above: float = 0.0) -> Labels:
    """The sum of the verdicts on the sample's episode minus `above`; none if the episode has no verdict at all."""
    seen, dones = feedback.seen, feedback.dones
    sums, known = np.zeros(seen.shape), np.zeros(seen.shape, bool)
    so_far, any_so_far = np.zeros(seen.shape[1]), np.zeros(seen.shape[1], bool)
    for t in range(len(seen)):
        so_far = so_far + np.nan_to_num(seen[t])
        any_so_far = any_so_far | ~np.isnan(seen[t])
        sums[t], known[t] = so_far, any_so_far
        so_far, any_so_far = np.where(dones[t], 0.0, so_far), any_so_far & ~dones[t]
    return Labels(spread_from_ends(np.where(known, sums - above, np.nan), dones))
