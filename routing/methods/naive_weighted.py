"""Naive oversight in which a judged episode counts for all those that were not: it weighs 1/p."""

import numpy as np

from routing.methods.naive import naive
from routing.registry import method
from routing.treatment import Feedback, Rollout, Treatment, episode_labels, judged


def inverse_propensity(feedback: Feedback) -> np.ndarray:
    """(T, N): 1/p on the steps of judged episodes, 1 elsewhere.

    Raises:
        ValueError: an ending was judged although the overseer's propensity is unknown or 0.
    """
    labelled = judged(episode_labels(feedback))
    if labelled.any() and not feedback.propensity > 0:
        raise ValueError(
            f"an ending was judged, but its probability is given as {feedback.propensity}; "
            "weighting by 1/p needs an environment that declares a positive oversight_prob"
        )
    return np.where(labelled, 1 / (feedback.propensity or np.nan), 1.0)


@method()
def naive_weighted(rollout: Rollout) -> Treatment:
    """Naive oversight, judged episodes weighted by 1/p."""
    return naive(rollout)._replace(weights=inverse_propensity(rollout.feedback))
