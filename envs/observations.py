"""Batched observations of any space: arrays, and dictionaries and tuples of them.

Letters: N copies, obs the shape of one observation.
"""

from typing import Any

import numpy as np
from gymnasium import Space


def reached(obs: Any, final: Any, done: np.ndarray) -> Any:
    """Return the observations that a step reached, before any restart.

    Args:
        obs: (N, *obs) after the step; a copy whose episode ended has the first observation of its next one.
        final: (N,) object, the last observation of each copy whose episode ended.
        done: (N,) bool, whether the copy's episode ended.
    """
    if not done.any():
        return obs
    if isinstance(obs, dict | tuple):
        ended = np.flatnonzero(done).tolist()
        keys = list(obs) if isinstance(obs, dict) else range(len(obs))
        parts = {key: reached(obs[key], {i: final[i][key] for i in ended}, done) for key in keys}
        return parts if isinstance(obs, dict) else tuple(parts.values())
    merged = np.array(obs)
    for i in np.flatnonzero(done).tolist():
        merged[i] = final[i]
    return merged


def row(obs: Any, i: Any) -> Any:
    """Return the observation of one copy, or those of several if `i` is a mask or an array of indices."""
    if isinstance(obs, dict):
        return {key: row(value, i) for key, value in obs.items()}
    return tuple(row(value, i) for value in obs) if isinstance(obs, tuple) else obs[i]


def batch_of_one(space: Space, obs: Any) -> Any:
    """Return one observation of a space as a batch of one."""
    if isinstance(obs, dict):
        return {key: batch_of_one(space[key], value) for key, value in obs.items()}  # type: ignore[index]
    return tuple(map(batch_of_one, space, obs)) if isinstance(obs, tuple) else np.asarray(obs)[None]  # type: ignore[call-overload]
