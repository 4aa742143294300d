"""A random share of episodes trains; what happens in an episode has no influence on whether it does.

With the true reward (`overseer=all_seeing(declared=true)`) this is the oracle filtering of Cloud et al. 2024 (arXiv
2410.04332, section 4.3): what a filter could reach whose labels are missing at random.
"""

from typing import Any

import numpy as np

from routing.oversight.parts import part
from routing.oversight.treatment import Rollout


@part("weights")
class random_episodes:  # noqa: N801  (the name of the part)
    """Only a random share `p` of episodes trains, a coin for each; p=0 takes the propensity that the world declares."""

    def __init__(self, seed: int, p: float = 0.0) -> None:
        if not 0 <= p <= 1:
            raise ValueError(f"random_episodes has p {p:g}; give a share from 0 to 1, or 0 for the declared propensity")
        self.p, self.rng = p, np.random.default_rng([seed, 0xC01])
        self.coin = np.zeros(0, bool)  # (N,) whether the episode at the end of the last rollout trains
        self.under_way = np.zeros(0, bool)  # (N,) whether that episode continues in the next

    def __call__(self, rollout: Rollout) -> np.ndarray:
        p, dones = self.p or rollout.feedback.propensity, rollout.feedback.dones
        if p != p:
            raise ValueError(
                "weights=random_episodes has no p, and the environment declares no oversight_prob; "
                "give a share, as in random_episodes(0.1)"
            )
        episode = np.cumsum(dones, axis=0) - dones  # (T, N) number of the episode of each step in its column
        count = int(episode.max(initial=0)) + 1
        coins = self.rng.random((count + 1, dones.shape[1])) < p
        if len(self.coin) == dones.shape[1]:
            coins[0] = np.where(self.under_way, self.coin, coins[0])
        live = np.ones(dones.shape, bool) if rollout.live is None else rollout.live
        columns = np.arange(dones.shape[1])
        self.coin, self.under_way = coins[episode[-1], columns], live[-1] & ~dones[-1]
        return coins[episode, columns].astype(np.float32)

    def snapshot(self) -> dict[str, Any]:
        """Return the generator and the coins of episodes under way."""
        coins = {"coin": self.coin.copy(), "under_way": self.under_way.copy()}
        return {"generator": self.rng.bit_generator.state, **coins}

    def restore(self, state: dict[str, Any]) -> None:
        """Restore the state returned by `snapshot`."""
        self.rng.bit_generator.state = state["generator"]
        self.coin, self.under_way = state["coin"], state["under_way"]
