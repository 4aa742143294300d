"""The space of what an agent observes of an environment with an overseer; see `envs.overseen`."""

from typing import Any

import numpy as np
from gymnasium import Space
from gymnasium.spaces import Box

from envs.foreign.declaration import Overseen


def agent_space(declared: Overseen, viewed: Any) -> Space:
    """The space of one observation, if `agent_view` returned `viewed`, (N, *obs').

    Raises:
        ValueError: the space is not given and cannot be found.
    """
    if declared.agent_space is not None:
        return declared.agent_space
    found = np.asarray(viewed) if not isinstance(viewed, dict | tuple) else None
    if found is not None and found.ndim > 1 and found.dtype.kind == "f":
        return Box(-np.inf, np.inf, found.shape[1:], found.dtype.type)
    if found is not None and found.ndim > 2 and found.dtype == np.uint8:
        return Box(0, 255, found.shape[1:], np.uint8)
    if found is not None and found.ndim == 1 and found.dtype.kind in "fiub":
        raise ValueError(
            f"{declared.id}: agent_view returns one number for each observation: give it an axis, as in obs[:, [0]]"
        )
    shown = f"{found.dtype} of shape {found.shape}" if found is not None else type(viewed).__name__
    raise ValueError(f"{declared.id}: agent_view returns {shown}: give agent_space, the space of one observation")
