"""Samples of a rollout, summed where the policy cannot tell them apart: the loss of sums is the sum of losses."""

from typing import NamedTuple

import numpy as np
import torch


class GroupedSamples(NamedTuple):
    """A rollout's samples, summed over those that have observation and mask in common: P distinct pairs."""

    observation: np.ndarray  # (P,) int, an index of tables.observations
    masks: np.ndarray  # (P, M)
    gains: np.ndarray  # (P, A) sum of weight times positive advantage
    losses: np.ndarray  # (P, A) sum of weight times negative advantage
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
    """Sum samples, (n,) each and masks (n, M), by observation and mask. In float64: the order does not matter."""
    routes, route = distinct_masks(masks)
    key = observation * len(routes) + route
    met = np.zeros(int(key.max()) + 1, bool)
    met[key] = True
    pairs = np.flatnonzero(met)
    row = (np.cumsum(met) - 1)[key]

    def total(values: np.ndarray) -> np.ndarray:
        return np.bincount(row, values, len(pairs))

    def by_action(values: np.ndarray) -> np.ndarray:
        return np.bincount(row * n_actions + action, values, len(pairs) * n_actions).reshape(-1, n_actions)

    return GroupedSamples(
        pairs // len(routes),
        routes[pairs % len(routes)],
        by_action(weights * np.maximum(advantages, 0)),
        by_action(weights * np.minimum(advantages, 0)),
        total(weights),
        total(weights * returns),
        total(labels > 0),
        total(labels < 0),
    )


def pad_rows(rows: np.ndarray) -> np.ndarray:
    """(n,) -> (m,) with m one of few sizes, an eighth or 31 more than n at most; the first row stands in.

    Libraries compile matrix products of bfloat16 for each size they meet, and keep them: sizes had better recur.
    """
    step = max(1 << max(len(rows).bit_length() - 4, 0), 32)
    return np.concatenate([rows, np.full(-len(rows) % step, rows[0])])


def distinct_masks(masks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(n, M) -> the distinct rows, the unit mask first, (R, M), and which of them a row is, (n,)."""
    special = (masks != 1).any(1)
    route = np.zeros(len(masks), np.int64)
    others, which = np.unique(masks[special], axis=0, return_inverse=True)
    route[special] = which.ravel() + 1
    return np.concatenate([np.ones_like(masks[:1]), others]), route


def take_rows(rows: torch.Tensor, which: np.ndarray) -> torch.Tensor:
    """(R, ...), (n,) int -> (n, ...): those rows. Unlike indexing this copies a row at a time, not a number."""
    return rows.index_select(0, torch.as_tensor(which, device=rows.device))
