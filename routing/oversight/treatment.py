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
CODES = ("good", "bad", "no_verdict")  # of a network that reads verdicts: the columns of a mask before the gate's


def blocks_of(experts: int) -> tuple[str, ...]:
    """Names of the blocks of a policy with n experts: retain, forget, forget2, ..., gate."""
    forget = ["forget" if i == 1 else f"forget{i}" for i in range(1, experts)]
    return ("retain", *forget, "gate")


class Feedback(NamedTuple):
    """The verdicts of an overseer on a rollout."""

    score: np.ndarray  # (T, N) float: verdict on the step; nan: no verdict
    dones: np.ndarray  # (T, N) bool: the episode ended with this step, by termination or truncation
    propensity: float = float("nan")  # probability that an episode is seen or audited; nan: unknown
    audited: np.ndarray | None = None  # (T, N) bool: the step belongs to an audit; None: there are no audits
    kinds: np.ndarray | None = None  # (T, N) int8: kind of the bad verdict on the step, from 1; 0: none; None: unknown

    @property
    def seen(self) -> np.ndarray:
        """(T, N) the verdicts that rest on a look: in a world with audits those of audits alone, nan elsewhere."""
        return self.score if self.audited is None else np.where(self.audited, self.score, np.nan)


class Labels(NamedTuple):
    """The verdict by which each sample is filtered, weighted or routed."""

    values: np.ndarray  # (T, N) float: positive: good, negative: bad, 0: neither, nan: no verdict
    by_step: bool = False  # each step has a label of its own; else all steps of an episode share one


class Rollout(NamedTuple):
    """The data that a part may read. The true reward is not included."""

    rewards: np.ndarray  # (T, N) float: the proxy reward
    endings: np.ndarray  # (E, *obs): agent's observation of each episode's last state, in the order of feedback.dones
    flags: np.ndarray  # (*obs,) bool: entries of an observation that reveal what the overseer will see
    feedback: Feedback
    live: np.ndarray | None = None  # (T, N) bool: the copy took this step; None: all did
    blocks: tuple[str, ...] = BLOCKS  # of the policy, in the order of a mask's columns
    overseer_obs: np.ndarray | None = None  # (T, N) int or (T, N, F) float, nan where a feature was not observed
    reached: Callable[[], np.ndarray] | None = None  # () -> (T, N, *obs): agent's observation of each state reached
    labelled: Callable[[], Labels] | None = None  # by the arm's part `label`; None: the verdict on the episode's end
    progress: float = 0.0  # share of the run's steps that were done before this rollout

    @property
    def labels(self) -> np.ndarray:
        """(T, N) the verdict that labels each sample; nan: none."""
        return episode_labels(self.feedback) if self.labelled is None else self.labelled().values

    @property
    def labelled_by_step(self) -> bool:
        """Whether each step has a label of its own."""
        return self.labelled is not None and self.labelled().by_step

    @property
    def bad_kinds(self) -> np.ndarray:
        """(T, N) int: the kind of bad verdict of each sample, in an episode that of its last bad verdict; 0: none."""
        score = self.feedback.seen
        kinds = np.zeros(score.shape, np.int8) if self.feedback.kinds is None else self.feedback.kinds
        kinds = np.where(score < 0, kinds, 0)
        return kinds if self.labelled_by_step else _last_kinds(kinds, self.feedback.dones)


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


def seen_rewards(rollout: Rollout) -> np.ndarray:
    """Return (T, N) rewards: the verdict where it rests on a look, the proxy reward elsewhere."""
    seen = rollout.feedback.seen
    return np.where(np.isnan(seen), rollout.rewards, seen)


def episode_labels(feedback: Feedback) -> np.ndarray:
    """Return the (T, N) verdict on the end of each step's episode; nan if there is no verdict or no end yet.

    In a world with audits, the verdict on an episode that was not audited is none.
    """
    return spread_from_ends(feedback.seen, feedback.dones)


def _last_kinds(kinds: np.ndarray, dones: np.ndarray) -> np.ndarray:
    """Give each step the last kind, (T, N), other than 0 in its episode; 0 if the episode does not end here."""
    last, so_far = np.zeros(kinds.shape), np.zeros(kinds.shape[1])
    for t in range(len(kinds)):
        so_far = last[t] = np.where(kinds[t] > 0, kinds[t], so_far)
        so_far = np.where(dones[t], 0, so_far)
    return np.nan_to_num(spread_from_ends(last, dones)).astype(np.int8)


def spread_from_ends(values: np.ndarray, dones: np.ndarray) -> np.ndarray:
    """Give each step the value, (T, N), at the end of its episode; nan if the episode does not end in the rollout."""
    spread = np.empty_like(values)
    value = np.full(values.shape[1], np.nan)
    for t in reversed(range(len(values))):
        value = np.where(dones[t], values[t], value)
        spread[t] = value
    return spread


def unfinished(feedback: Feedback) -> np.ndarray:
    """Return a (T, N) mask of steps whose episode does not end within the rollout."""
    return ~np.logical_or.accumulate(feedback.dones[::-1], axis=0)[::-1]


def judged(labels: np.ndarray) -> np.ndarray:
    """Return a mask of steps with a good or bad label. A label of 0, an episode that reached nothing, is neither."""
    return ~np.isnan(labels) & (labels != 0)


def inverse_propensity(rollout: Rollout) -> np.ndarray:
    """Compute inverse propensity weights: 1/p on judged samples, 1 elsewhere.

    Returns:
        (T, N) weights.

    Raises:
        ValueError: the overseer's propensity is unknown, or a sample was judged although it is 0.
    """
    labelled, propensity = judged(rollout.labels), rollout.feedback.propensity
    if np.isnan(propensity):
        raise ValueError(
            "weights of 1/p need the probability p that an episode is seen, which is unknown here: the environment "
            "declares no oversight_prob, or the agent decides what is seen; use other weights"
        )
    if labelled.any() and not propensity > 0:
        raise ValueError(
            f"an episode end was judged, but the propensity is {propensity}; "
            "weighting by 1/p needs an environment that declares a positive oversight_prob"
        )
    return np.where(labelled, 1 / (propensity or np.nan), 1.0)
