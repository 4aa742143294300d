"""Sums the samples of a rollout that share observation and mask; the loss of the sums is the sum of the losses."""

from typing import NamedTuple

import numpy as np
import torch


class GroupedSamples(NamedTuple):
    """A rollout's samples, summed over those that share observation and mask: P distinct pairs."""

    observation: np.ndarray  # (P,) int, an index of tables.observations
    masks: np.ndarray  # (P, M)
    positive_advantages: np.ndarray  # (P, A) sum of weight times positive advantage
    negative_advantages: np.ndarray  # (P, A) sum of weight times negative advantage
    visits: np.ndarray  # (P,) sum of weights
    critic_visits: np.ndarray  # (P,) sum of weights in the critic's loss
    returns: np.ndarray  # (P,) sum of weight in the critic's loss times return
    good: np.ndarray  # (P,) number of samples whose gate target is positive
    bad: np.ndarray  # (P,) number of samples whose gate target is negative


def group_samples(
    observation: np.ndarray,
    masks: np.ndarray,
    action: np.ndarray,
    advantages: np.ndarray,
    weights: np.ndarray,
    critic_weights: np.ndarray,
    returns: np.ndarray,
    gate: np.ndarray,
    n_actions: int,
) -> GroupedSamples:
    """Sum samples by observation and mask, in float64 so that their order does not matter.

    Args:
        observation: (n,) int, an index of tables.observations.
        masks: (n, M).
        action: (n,) int.
        advantages, weights, critic_weights, returns: (n,) float.
        gate: (n,) target of the gate: positive, negative or 0 for none.
        n_actions: A.
    """
    distinct, mask = distinct_masks(masks)
    key = observation * len(distinct) + mask
    occurs = np.zeros(int(key.max()) + 1, bool)
    occurs[key] = True
    pairs = np.flatnonzero(occurs)
    row = (np.cumsum(occurs) - 1)[key]

    def total(values: np.ndarray) -> np.ndarray:
        return np.bincount(row, values, len(pairs))

    def by_action(values: np.ndarray) -> np.ndarray:
        return np.bincount(row * n_actions + action, values, len(pairs) * n_actions).reshape(-1, n_actions)

    return GroupedSamples(
        pairs // len(distinct),
        distinct[pairs % len(distinct)],
        by_action(weights * np.maximum(advantages, 0)),
        by_action(weights * np.minimum(advantages, 0)),
        total(weights),
        total(critic_weights),
        total(critic_weights * returns),
        total(gate > 0),
        total(gate < 0),
    )


def pad_rows(rows: np.ndarray) -> np.ndarray:
    """Pad row indices to the next bucket size with copies of the first, so that batches have few sizes.

    Libraries compile bfloat16 matrix products for each size, and cache them.

    Args:
        rows: (n,) int.

    Returns:
        (m,) int, with m at most n / 8 or 31 larger than n.
    """
    step = max(1 << max(len(rows).bit_length() - 4, 0), 32)
    return np.concatenate([rows, np.full(-len(rows) % step, rows[0])])


def distinct_masks(masks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Find the distinct rows of masks (n, M).

    Returns:
        The distinct rows, (R, M), with the unit mask first, and the index of each row among them, (n,) int.
    """
    special = (masks != 1).any(1)
    index = np.zeros(len(masks), np.int64)
    others, inverse = np.unique(masks[special], axis=0, return_inverse=True)
    index[special] = inverse.ravel() + 1
    return np.concatenate([np.ones_like(masks[:1]), others]), index


def take_rows(rows: torch.Tensor, indices: np.ndarray) -> torch.Tensor:
    """(R, ...), (n,) int -> (n, ...). Copies a row at a time; indexing copies a number at a time."""
    return rows.index_select(0, torch.as_tensor(indices, device=rows.device))
