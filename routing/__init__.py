"""From what the overseer says to where gradients go. Importing this package registers every method."""

import routing.methods  # noqa: F401  (registers)
from routing.overseer import Overseer, View, all_seeing, flipped, limited
from routing.primitives import scale_grad
from routing.registry import METHODS, Deployment, Spec, find, learned_method, method
from routing.treatment import (
    BLOCKS,
    Feedback,
    Method,
    Rollout,
    Treatment,
    believed_rewards,
    episode_labels,
    judged,
    untreated,
)

__all__ = [
    "BLOCKS",
    "METHODS",
    "Deployment",
    "Feedback",
    "Method",
    "Overseer",
    "Rollout",
    "Spec",
    "Treatment",
    "View",
    "all_seeing",
    "believed_rewards",
    "episode_labels",
    "find",
    "flipped",
    "judged",
    "learned_method",
    "limited",
    "method",
    "scale_grad",
    "untreated",
]
