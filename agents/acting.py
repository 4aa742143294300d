"""Which copies of the environment the deployed policy acts in during training: a coin for each episode."""

from typing import Any

import numpy as np

from agents.deployment import use_of
from agents.policies.blocks import BlockUse
from routing import Composition

SEED = 0xAC7


class ActingCoins:
    """A coin for the current episode of each copy; it is kept where a rollout cuts an episode.

    Args:
        use: how the deployed policy uses its blocks.
        share: probability with which the deployed policy acts in an episode.
        copies: N.
        seed: of the coins, which no other draw shares.

    Attributes:
        deployed: (N,) bool, whether the deployed policy acts in the copy. It is changed in place.
    """

    def __init__(self, use: BlockUse, share: float, copies: int, seed: int) -> None:
        self.use, self.share = use, share
        self.generator = np.random.default_rng([seed, SEED])
        self.deployed = np.zeros(copies, bool)
        self.toss(np.ones(copies, bool))

    def toss(self, ended: np.ndarray) -> None:
        """Toss the coins of the copies whose episode ended, (N,) bool."""
        self.deployed[ended] = self.generator.random(int(ended.sum())) < self.share

    def snapshot(self) -> dict[str, Any]:
        """Return coins and generator as plain data."""
        return {"deployed": self.deployed.copy(), "generator": self.generator.bit_generator.state}

    def restore(self, state: dict[str, Any]) -> None:
        """Restore the state that `snapshot` returned."""
        self.deployed[:] = state["deployed"]
        self.generator.bit_generator.state = state["generator"]


def acting_coins(method: Composition, copies: int, seed: int) -> ActingCoins | None:
    """Return the coins of a method whose deployed policy acts during training; None if the whole policy always acts."""
    share = method.value("acting").share
    return ActingCoins(use_of(method.deployments[0]), share, copies, seed) if share else None
