"""Batched observations of any space: arrays, and dictionaries and tuples of them.

Gymnasium batches a space that it does not know, such as text, as a tuple of N observations.

Letters: N copies, obs the shape of one observation.
"""

from typing import Any

import numpy as np
from gymnasium import Space
from gymnasium.spaces import Dict, Tuple


def reached(space: Space, obs: Any, final: Any, done: np.ndarray) -> Any:
    """Return the observations that a step reached, before any restart.

    Args:
        space: of one observation.
        obs: (N, *obs) after the step; a copy whose episode ended has the first observation of its next one.
        final: (N,) object, the last observation of each copy whose episode ended.
        done: (N,) bool, whether the copy's episode ended.
    """
    if not done.any():
        return obs
    ended = np.flatnonzero(done).tolist()
    if isinstance(space, Dict):
        parts = space.spaces.items()
        return {key: reached(part, obs[key], {i: final[i][key] for i in ended}, done) for key, part in parts}
    if isinstance(space, Tuple):
        columns = enumerate(space.spaces)
        return tuple(reached(part, obs[k], {i: final[i][k] for i in ended}, done) for k, part in columns)
    if isinstance(obs, tuple):
        return tuple(final[i] if done[i] else one for i, one in enumerate(obs))
    merged = np.array(obs)
    for i in ended:
        merged[i] = final[i]
    return merged


def row(space: Space, obs: Any, i: int) -> Any:
    """Return the observation of copy `i`."""
    if isinstance(space, Dict):
        return {key: row(part, obs[key], i) for key, part in space.spaces.items()}
    return tuple(row(part, obs[k], i) for k, part in enumerate(space.spaces)) if isinstance(space, Tuple) else obs[i]


def rows(obs: Any, chosen: Any) -> Any:
    """Return the observations at an index, a mask or indices, of arrays or tensors, or of dictionaries of them."""
    return {key: value[chosen] for key, value in obs.items()} if isinstance(obs, dict) else obs[chosen]


def batch_of_one(space: Space, obs: Any) -> Any:
    """Return one observation of a space as a batch of one."""
    if isinstance(space, Dict):
        return {key: batch_of_one(part, obs[key]) for key, part in space.spaces.items()}
    if isinstance(space, Tuple):
        return tuple(batch_of_one(part, obs[k]) for k, part in enumerate(space.spaces))
    return np.asarray(obs)[None] if isinstance(obs, np.ndarray | np.generic | int | float) else (obs,)
