"""What an agent observes of the overseer: the flags that mark where the overseer can see.

An `aware` agent observes the flags, a `blind` one zeros in their place. A `noisy` agent observes flags that are flipped
at random; the flips are drawn once an episode, so that repeated observations add no information.
"""

from typing import Any

import numpy as np

KNOWLEDGE = ("aware", "blind", "noisy")


def shown_flags(knowledge: str, flags: np.ndarray, flipped: Any = False) -> np.ndarray:
    """The flags as an agent with this knowledge observes them.

    Args:
        knowledge: one of `KNOWLEDGE`.
        flags: any shape, 0 or 1.
        flipped: bool, broadcastable to flags: the flags that a noisy agent observes inverted.

    Returns:
        Array of the shape and dtype of flags.
    """
    if knowledge == "blind":
        return np.zeros_like(flags)
    if knowledge == "noisy":
        return np.where(flipped, 1 - flags, flags).astype(flags.dtype)
    return flags


def flip_probability(knowledge: str, noise: float) -> float:
    """The probability that a flag is shown inverted: `noise` for a noisy agent, 0 for the others."""
    return noise if knowledge == "noisy" else 0.0
