"""Control of gradient routing: verdicts are permuted over the episodes of a rollout.

As many episodes are routed to each block as with the true verdicts, but where an episode is routed is independent of
how it ended. Permuted over all episodes, most of those that are masked have no verdict; in an arm that weights judged
episodes they weigh less than those that routing masks. Permuted over judged episodes, the masked samples and their
weights are those of routing, and only the direction is random. In an arm with `label=step`, steps take the place of
episodes. With `kinds`, the control of by_kind, the kind of a bad verdict is permuted with the verdict.
"""

from typing import Any

import numpy as np

from routing.oversight.parts import part
from routing.oversight.treatment import Rollout, judged, spread_from_ends
from routing.parts.masks.routed import masks_by_label, to_expert_of_kind


@part("masks", needs=("forget",))
class placebo:  # noqa: N801  (the name of the part)
    """As routed, with the verdicts of a rollout permuted over its episodes: "all", or "judged" ones only."""

    def __init__(
        self, seed: int, over: str = "all", unlabelled: str = "both", push: float = 0.0, kinds: bool = False
    ) -> None:
        if over not in ("all", "judged"):
            raise ValueError(f"placebo permutes over {over!r}; use all or judged")
        self.rng, self.over = np.random.default_rng([seed, 0x91ACEB0]), over
        self.unlabelled, self.push, self.kinds = unlabelled, push, kinds

    def __call__(self, rollout: Rollout) -> np.ndarray:
        labels, dones = rollout.labels, rollout.feedback.dones
        by_step = rollout.labelled_by_step
        exchanged = self._steps(rollout) if by_step else dones
        if self.over == "judged":
            exchanged = exchanged & judged(labels)
        order = self.rng.permutation(int(exchanged.sum()))

        def permuted(values: np.ndarray) -> np.ndarray:
            drawn = values.astype(float)
            drawn[exchanged] = drawn[exchanged][order]
            return drawn if by_step else spread_from_ends(drawn, dones)

        drawn = permuted(labels)
        masks = masks_by_label(rollout, drawn, self.unlabelled, self.push)
        if not self.kinds:
            return masks
        return to_expert_of_kind(masks, drawn < 0, np.nan_to_num(permuted(rollout.bad_kinds)).astype(np.int8))

    def _steps(self, rollout: Rollout) -> np.ndarray:
        """(T, N) bool: the steps that the copies took."""
        return np.ones(rollout.rewards.shape, bool) if rollout.live is None else rollout.live

    def snapshot(self) -> dict[str, Any]:
        """Return the state of the generator."""
        return {"generator": self.rng.bit_generator.state}

    def restore(self, state: dict[str, Any]) -> None:
        """Restore the state of the generator."""
        self.rng.bit_generator.state = state["generator"]
