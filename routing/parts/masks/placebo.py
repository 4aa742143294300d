"""Control of gradient routing: verdicts are permuted over the episodes of a rollout.

As many episodes are routed to each block as with the true verdicts, but whether an episode is routed, and where, is
independent of how it ended. What remains of routing's effect comes from masking as such.
"""

from typing import Any

import numpy as np

from routing.oversight.parts import part
from routing.oversight.treatment import Rollout, episode_labels
from routing.parts.masks.routed import masks_by_label


@part("masks", needs=("forget",))
class placebo:  # noqa: N801  (the name of the part)
    """As routed, with the verdicts of a rollout permuted over its episode ends."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng([seed, 0x91ACEB0])

    def __call__(self, rollout: Rollout) -> np.ndarray:
        score, dones, _ = rollout.feedback
        permuted = score.copy()
        permuted[dones] = self.rng.permutation(score[dones])
        return masks_by_label(rollout, episode_labels(rollout.feedback._replace(score=permuted)))

    def snapshot(self) -> dict[str, Any]:
        """Return the state of the generator."""
        return {"generator": self.rng.bit_generator.state}

    def restore(self, state: dict[str, Any]) -> None:
        """Restore the state of the generator."""
        self.rng.bit_generator.state = state["generator"]
