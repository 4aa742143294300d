"""Images with their channels first, as PyTorch's convolutions read them.

An image is a Box of uint8 from 0 to 255 with three dimensions; its channels are the smallest one. This is how
Stable-Baselines3 recognises and transposes images.

Letters: N copies, obs the shape of an observation.
"""

from typing import Any

import numpy as np
from gymnasium import Space
from gymnasium.spaces import Box, Dict
from gymnasium.vector import VectorEnv
from gymnasium.vector.utils import batch_space

from envs.wrappers import AgentView


def is_image(space: Space) -> bool:
    """Whether a space contains images."""
    if not isinstance(space, Box) or len(space.shape) != 3 or space.dtype != np.uint8:
        return False
    return bool((space.low == 0).all() and (space.high == 255).all())


def is_channels_last(space: Space) -> bool:
    """Whether a space contains images whose channels are their last dimension."""
    return is_image(space) and int(np.argmin(space.shape)) == 2  # type: ignore[arg-type]


def images_first(env: VectorEnv) -> VectorEnv:
    """Return the environment, with the channels of its images first."""
    space = env.single_observation_space
    spaces = space.spaces.values() if isinstance(space, Dict) else (space,)
    return ChannelsFirst(env) if any(map(is_channels_last, spaces)) else env


class ChannelsFirst(AgentView):
    """The agent observes images with their channels first; other parts of a Dict are unchanged."""

    def __init__(self, env: VectorEnv) -> None:
        super().__init__(env)
        self.single_observation_space = _transposed_space(env.single_observation_space)
        self.observation_space = batch_space(self.single_observation_space, env.num_envs)

    @property
    def flags(self) -> np.ndarray:
        """(*obs,) bool: those of the environment; of a Dict as they are."""
        flags = self.env.flags  # type: ignore[attr-defined]
        return np.moveaxis(flags, -1, 0) if flags.ndim == 3 else flags

    def view(self, obs: Any) -> Any:
        """(N, *obs), with channels first."""
        return _transposed(self.env.single_observation_space, obs)

    def _final(self, obs: Any, final: np.ndarray, ended: np.ndarray) -> np.ndarray:
        viewed = np.full(len(final), None, object)
        for i in np.flatnonzero(ended):
            viewed[i] = _transposed(self.env.single_observation_space, final[i])
        return viewed


def _transposed_space(space: Space) -> Space:
    if isinstance(space, Dict):
        return Dict({key: _transposed_space(part) for key, part in space.spaces.items()})
    if not is_channels_last(space):
        return space
    height, width, channels = space.shape  # type: ignore[misc]
    return Box(0, 255, (channels, height, width), np.uint8)


def _transposed(space: Space, obs: Any) -> Any:
    """One observation of a space, or a batch of them, with channels first."""
    if isinstance(space, Dict):
        return {key: _transposed(part, obs[key]) for key, part in space.spaces.items()}
    return np.ascontiguousarray(np.moveaxis(obs, -1, -3)) if is_channels_last(space) else obs
