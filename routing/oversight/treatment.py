"""Overseer feedback, and the treatment of each sample in the update that an arm derives from it.

A `Treatment` is the only part of an oversight method that the learner reads: naive oversight changes rewards,
filtering changes weights, gradient routing changes masks. The update never branches on the method.

Letters: T steps, N copies of the environment, M blocks of the policy, E episode ends.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

BLOCKS = ("retain", "forget", "gate")  # of a policy with two experts, in the order of a mask's columns
RETAIN, GATE = 0, -1  # columns of a mask; those between them are forget experts


def blocks_of(experts: int) -> tuple[str, ...]:
    """Names of the blocks of a policy with n experts: retain, forget, forget2, ..., gate."""
    forget = ["forget" if i == 1 else f"forget{i}" for i in range(1, experts)]
    return ("retain", *forget, "gate")


class Feedback(NamedTuple):
    """The verdicts of an overseer on a rollout."""

    score: np.ndarray  # (T, N) float: verdict on the step; nan: no verdict
    dones: np.ndarray  # (T, N) bool: the episode ended with this step, by termination or truncation
    propensity: float = float("nan")  # probability that an episode end is judged; nan: unknown


class Rollout(NamedTuple):
    """The data that a part may read. The true reward is not included."""

    rewards: np.ndarray  # (T, N) float: the proxy reward
    endings: np.ndarray  # (E, *obs): agent's observation of each episode's last state, in the order of feedback.dones
    flags: np.ndarray  # (*obs,) bool: entries of an observation that reveal what the overseer will see
    feedback: Feedback
    live: np.ndarray | None = None  # (T, N) bool: the copy took this step; None: all did
    blocks: tuple[str, ...] = BLOCKS  # of the policy, in the order of a mask's columns


class Treatment(NamedTuple):
    """How each sample enters the update."""

    rewards: np.ndarray  # (T, N) float: returns are computed from these
    weights: np.ndarray  # (T, N) float: multiplies the sample's loss; 0 filters it out
    masks: np.ndarray  # (T, N, M) float: multiplies the sample's gradient in each block
    critic: np.ndarray  # (T, N) float: multiplies the sample's weight in the critic's loss
    baselined: np.ndarray  # (T, N) bool: the critic's value is subtracted from the sample's return
    gate: np.ndarray  # (T, N) float: the gate's target, positive: retain, negative: forget, 0: none
    scale: float = 1.0  # multiplies the loss, whose weights have mean 1


Treat = Callable[[Rollout], Treatment]


def unmasked(rollout: Rollout) -> np.ndarray:
    """Return (T, N, M) masks under which every sample trains every block."""
    return np.ones((*rollout.rewards.shape, len(rollout.blocks)), np.float32)


def untreated(rollout: Rollout) -> Treatment:
    """Return the treatment of plain reinforcement learning: proxy rewards, unit weights and unit masks."""
    ones = np.ones(rollout.rewards.shape, np.float32)
    return Treatment(
        rollout.rewards.copy(), ones, unmasked(rollout), ones, np.ones(ones.shape, bool), np.zeros(ones.shape)
    )


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


def unfinished(feedback: Feedback) -> np.ndarray:
    """Return a (T, N) mask of steps whose episode does not end within the rollout."""
    return ~np.logical_or.accumulate(feedback.dones[::-1], axis=0)[::-1]


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
