"""Features of observations with several parts, and of images: convolutions where there is something to learn.

An observation is flattened to one vector, and an `Encoder` reads the vector. So an encoder can be the policy's features
extractor, which all blocks share, or the first layer of each block. A share of the vector that is an image goes through
a convolutional network; all else is passed on.

Letters: B samples, F entries of a flattened observation, E features.
"""

from collections.abc import Mapping

import torch
from gymnasium import Space
from gymnasium.spaces import Box, Dict
from stable_baselines3.common.preprocessing import get_flattened_obs_dim
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor, NatureCNN
from torch import Tensor, nn

from envs.channels import is_image

EXTRACTORS = ("shared", "per_block")
NATURE_LEAST, SMALL_LEAST = 36, 4  # pixels of the shorter side that each network needs
NATURE_FEATURES, PART_FEATURES, SMALL_FEATURES = 512, 256, 128


def encodes(space: Space) -> bool:
    """Whether observations of a space are read by an encoder; other spaces are flattened by Stable-Baselines3."""
    return isinstance(space, Dict) or is_image(space)


def parts(space: Space) -> Mapping[str, Space]:
    """Return the parts of a Dict by name, or the space as its only part."""
    return space.spaces if isinstance(space, Dict) else {"": space}


def flat_size(space: Space) -> int:
    """Return F."""
    return sum(get_flattened_obs_dim(part) for part in parts(space).values())


class SmallCNN(nn.Sequential):
    """Three layers of 2 x 2 convolutions for images with few pixels, as in MiniGrid's documentation.

    Args:
        shape: channels, height and width of an image.
        features: E.
    """

    def __init__(self, shape: tuple[int, ...], features: int) -> None:
        channels, height, width = shape
        convolutions = [
            layer
            for inputs, outputs in ((channels, 16), (16, 32), (32, 64))
            for layer in (nn.Conv2d(inputs, outputs, 2), nn.ReLU())
        ]
        linear = nn.Linear(64 * (height - 3) * (width - 3), features)
        super().__init__(*convolutions, nn.Flatten(), linear, nn.ReLU())


def _image_network(space: Space, nature_features: int) -> tuple[nn.Module, int] | None:
    """Return the network of a flattened image and its number of features; None for an image with too few pixels."""
    if not is_image(space):
        return None
    assert isinstance(space, Box)
    unflatten = nn.Unflatten(1, space.shape)
    if min(space.shape[1:]) >= NATURE_LEAST:
        return nn.Sequential(unflatten, NatureCNN(space, nature_features)), nature_features
    if min(space.shape[1:]) >= SMALL_LEAST:
        return nn.Sequential(unflatten, SmallCNN(space.shape, SMALL_FEATURES)), SMALL_FEATURES
    return None


class Encoder(nn.Module):
    """Features of flattened observations: (B, F + extra) -> (B, E + extra). Extra entries are passed on.

    Args:
        space: of one observation.

    Attributes:
        size: F.
        features_dim: E.
    """

    def __init__(self, space: Space) -> None:
        super().__init__()
        nature_features = PART_FEATURES if isinstance(space, Dict) else NATURE_FEATURES
        self.networks = nn.ModuleList()
        self.sizes: list[int] = []
        self.features_dim = 0
        for part in parts(space).values():
            size = get_flattened_obs_dim(part)
            network, features = _image_network(part, nature_features) or (nn.Identity(), size)
            self.networks.append(network)
            self.sizes.append(size)
            self.features_dim += features
        self.size = sum(self.sizes)

    def forward(self, x: Tensor) -> Tensor:
        *values, extra = x.split([*self.sizes, x.shape[1] - self.size], 1)
        encoded = [network(part) for network, part in zip(self.networks, values, strict=True)]
        return torch.cat([*encoded, extra], 1)


def features_dim(space: Space) -> int:
    """Return E, without building the network."""
    with torch.device("meta"):
        return Encoder(space).features_dim


class FlatObservation(BaseFeaturesExtractor):
    """An observation as one vector, (B, F): nothing is learned."""

    def __init__(self, observation_space: Space) -> None:
        super().__init__(observation_space, flat_size(observation_space))
        self.names = tuple(parts(observation_space))

    def forward(self, observations: Tensor | Mapping[str, Tensor]) -> Tensor:
        if isinstance(observations, Tensor):
            return observations.flatten(1)
        return torch.cat([observations[name].flatten(1) for name in self.names], 1)


class SharedEncoder(BaseFeaturesExtractor):
    """An encoder that all blocks share."""

    def __init__(self, observation_space: Space) -> None:
        super().__init__(observation_space, features_dim(observation_space))
        self.flatten = FlatObservation(observation_space)
        self.encoder = Encoder(observation_space)

    def forward(self, observations: Tensor | Mapping[str, Tensor]) -> Tensor:
        return self.encoder(self.flatten(observations))
