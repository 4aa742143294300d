"""Overseer feedback, and the treatment of each sample in the update that a method derives from it.

A `Treatment` is the only part of an oversight method that the learner reads: naive oversight changes rewards,
filtering changes weights, gradient routing changes masks. The update never branches on the method.

Letters: T steps, N copies of the environment, M blocks of the policy, E episode ends.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np


class Feedback(NamedTuple):
    """The verdicts of an overseer on a rollout."""

    score: np.ndarray  # (T, N) float: verdict on the step; nan: no verdict
    dones: np.ndarray  # (T, N) bool: the episode ended with this step, by termination or truncation
    propensity: float = float("nan")  # probability that an episode end is judged; nan: unknown


class Rollout(NamedTuple):
    """The data that a method may read. The true reward is not included."""

    rewards: np.ndarray  # (T, N) float: the proxy reward
    endings: np.ndarray  # (E, *obs): agent's observation of each episode's last state, in the order of feedback.dones
    flags: np.ndarray  # (*obs,) bool: entries of an observation that reveal what the overseer will see
    feedback: Feedback


class Treatment(NamedTuple):
    """The rewards, weight and masks with which each sample enters the update."""

    rewards: np.ndarray  # (T, N) float: returns are computed from these
    weights: np.ndarray  # (T, N) float: multiplies the sample's loss; 0 filters it out
    masks: np.ndarray  # (T, N, M) float: multiplies the sample's gradient in each block


Method = Callable[[Rollout], Treatment]

BLOCKS = ("retain", "forget", "gate")  # M = 3: two experts, and the gate that mixes them
RETAIN, FORGET, GATE = range(len(BLOCKS))


def untreated(rollout: Rollout) -> Treatment:
    """Return the treatment of plain reinforcement learning: proxy rewards, unit weights and unit masks."""
    shape = rollout.rewards.shape
    return Treatment(rollout.rewards.copy(), np.ones(shape, np.float32), np.ones((*shape, len(BLOCKS)), np.float32))


def believed_rewards(rollout: Rollout) -> np.ndarray:
    """Return (T, N) rewards: the verdict where there is one, the proxy reward elsewhere."""
    score = rollout.feedback.score
    return np.where(np.isnan(score), rollout.rewards, score)


def episode_labels(feedback: Feedback) -> np.ndarray:
    """Return the (T, N) verdict on the end of each step's episode; nan if there is no verdict or no end yet."""
    labels = np.empty_like(feedback.score)
    label = np.full(feedback.score.shape[1], np.nan)
    for t in reversed(range(len(labels))):
        label = np.where(feedback.dones[t], feedback.score[t], label)
        labels[t] = label
    return labels


def judged(labels: np.ndarray) -> np.ndarray:
    """Return a mask of steps with a good or bad label. A label of 0, an episode that reached nothing, is neither."""
    return ~np.isnan(labels) & (labels != 0)


def inverse_propensity(feedback: Feedback) -> np.ndarray:
    """Compute inverse propensity weights: 1/p on the steps of judged episodes, 1 elsewhere.

    Returns:
        (T, N) weights.

    Raises:
        ValueError: an episode end was judged although the overseer's propensity is unknown or 0.
    """
    labelled = judged(episode_labels(feedback))
    if labelled.any() and not feedback.propensity > 0:
        raise ValueError(
            f"an episode end was judged, but the propensity is {feedback.propensity}; "
            "weighting by 1/p needs an environment that declares a positive oversight_prob"
        )
    return np.where(labelled, 1 / (feedback.propensity or np.nan), 1.0)
