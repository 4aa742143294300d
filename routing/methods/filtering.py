"""Data filtering: only episodes that the overseer could label train the policy.

The paper's filter (Cloud et al. 2024, arXiv 2410.04332, section 4.3) keeps episodes that reached nothing, because the
overseer observes that. The strict filter keeps only episodes with a good or bad verdict. Both drop episodes that are
unfinished at the end of the rollout.
"""

import numpy as np

from routing.methods.naive import naive
from routing.oversight.registry import method
from routing.oversight.treatment import Rollout, Treatment, episode_labels, judged


@method()
def filtering(rollout: Rollout) -> Treatment:
    """Only episodes whose end the overseer saw train, including those that reached nothing (the paper's filter)."""
    labelled = ~np.isnan(episode_labels(rollout.feedback))
    return naive(rollout)._replace(weights=labelled.astype(np.float32))


@method()
def filtering_strict(rollout: Rollout) -> Treatment:
    """Only episodes with a good or bad verdict train."""
    decisive = judged(episode_labels(rollout.feedback))
    return naive(rollout)._replace(weights=decisive.astype(np.float32))
