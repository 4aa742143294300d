"""From what the overseer says to where gradients go. Importing this package registers every method."""

import routing.methods  # noqa: F401  (registers)
from routing.overseer import Overseer, View, all_seeing, flipped, limited
from routing.parts import module, params, units
from routing.primitives import routed_linear, scale_grad
from routing.regions import Regions, Rules
from routing.registry import METHODS, Deployment, Spec, find, learned_method, method
from routing.router import Router
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
    "Regions",
    "Rollout",
    "Router",
    "Rules",
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
    "module",
    "params",
    "routed_linear",
    "scale_grad",
    "units",
    "untreated",
]
