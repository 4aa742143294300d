"""What the overseer said, and how each sample therefore enters the update.

A `Treatment` is the whole of an oversight method as the learner sees it: naive oversight changes rewards,
filtering changes weights, gradient routing changes masks. The update never branches on the method.

Letters: T steps, N copies of the environment, M blocks of the policy.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np


class Feedback(NamedTuple):
    """What the overseer said of a rollout."""

    score: np.ndarray  # (T, N) float: its verdict on the step; nan where it cannot tell
    dones: np.ndarray  # (T, N) bool: the episode ended with this step, at a true end or at the time limit
    propensity: float = float("nan")  # probability that an ending of this world is judged; nan: unknown


class Rollout(NamedTuple):
    """What a method may look at. The true reward is not among it."""

    rewards: np.ndarray  # (T, N) float: the proxy reward everyone sees
    endings: np.ndarray  # (E, *obs): agent's observation of each episode's last state, in the order of feedback.dones
    flags: np.ndarray  # (*obs,) bool: entries of an observation that tell the agent what the overseer will see
    feedback: Feedback


class Treatment(NamedTuple):
    """How each sample enters the update."""

    rewards: np.ndarray  # (T, N) float: returns are computed from these
    weights: np.ndarray  # (T, N) float: multiplies the sample's loss; 0 filters it out
    masks: np.ndarray  # (T, N, M) float: multiplies the sample's gradient in each block


Method = Callable[[Rollout], Treatment]

BLOCKS = ("retain", "forget", "gate")  # M = 3: two experts, and the gate that mixes them
RETAIN, FORGET, GATE = range(len(BLOCKS))


def untreated(rollout: Rollout) -> Treatment:
    """Every sample enters with its proxy reward, unit weight, and unit masks: plain reinforcement learning."""
    shape = rollout.rewards.shape
    return Treatment(rollout.rewards.copy(), np.ones(shape, np.float32), np.ones((*shape, len(BLOCKS)), np.float32))


def believed_rewards(rollout: Rollout) -> np.ndarray:
    """The overseer's verdict where it has one, else the proxy reward: (T, N)."""
    score = rollout.feedback.score
    return np.where(np.isnan(score), rollout.rewards, score)


def episode_labels(feedback: Feedback) -> np.ndarray:
    """The verdict on the end of the episode each step belongs to: (T, N), nan if unseen or unfinished."""
    labels = np.empty_like(feedback.score)
    label = np.full(feedback.score.shape[1], np.nan)
    for t in reversed(range(len(labels))):
        label = np.where(feedback.dones[t], feedback.score[t], label)
        labels[t] = label
    return labels


def judged(labels: np.ndarray) -> np.ndarray:
    """Steps of episodes on whose end the overseer passed a verdict, good or bad; reaching nothing is neither."""
    return ~np.isnan(labels) & (labels != 0)


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
