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
    returns: np.ndarray  # (P,) sum of weight times return
    good: np.ndarray  # (P,) number of samples judged good
    bad: np.ndarray  # (P,) number of samples judged bad


def group_samples(
    observation: np.ndarray,
    masks: np.ndarray,
    action: np.ndarray,
    advantages: np.ndarray,
    weights: np.ndarray,
    returns: np.ndarray,
    labels: np.ndarray,
    n_actions: int,
) -> GroupedSamples:
    """Sum samples by observation and mask, in float64 so that their order does not matter.

    Args:
        observation: (n,) int, an index of tables.observations.
        masks: (n, M).
        action: (n,) int.
        advantages, weights, returns: (n,) float.
        labels: (n,) verdict on the sample's episode, 0 without one.
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
        total(weights * returns),
        total(labels > 0),
        total(labels < 0),
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
