"""Data filtering: only what the overseer could judge trains the policy.

The paper's filter keeps episodes that reached nothing, for the overseer knows that nothing was reached; the strict one
keeps only those with a verdict. Fragments cut by the end of the rollout have no known end and are dropped by both.
"""

import numpy as np

from routing.methods.naive import naive
from routing.oversight.registry import method
from routing.oversight.treatment import Rollout, Treatment, episode_labels, judged


@method()
def filtering(rollout: Rollout) -> Treatment:
    """Only episodes whose end is known train, those that reached nothing among them (the paper's filter)."""
    known = ~np.isnan(episode_labels(rollout.feedback))
    return naive(rollout)._replace(weights=known.astype(np.float32))


@method()
def filtering_strict(rollout: Rollout) -> Treatment:
    """Only episodes with a verdict, good or bad, train."""
    labelled = judged(episode_labels(rollout.feedback))
    return naive(rollout)._replace(weights=labelled.astype(np.float32))
