"""From what the overseer says to where gradients go. Importing this package registers every method."""

import routing.methods  # noqa: F401  (registers)
from routing.ablation import ablate, ablated, mean, reinit, zero
from routing.audit import Audit, audit, moved, snapshot
from routing.lora import lora, set_scale, start_from_zero
from routing.overseer import Overseer, View, all_seeing, flipped, limited
from routing.parts import module, params, units
from routing.primitives import routed_linear, scale_grad
from routing.regions import Regions, Rules
from routing.registry import METHODS, Deployment, Spec, find, learned_method, method
from routing.router import Router
from routing.surgery import contract, expand
from routing.training import optimizer_groups, penalty, silence
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
    "Audit",
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
    "ablate",
    "ablated",
    "all_seeing",
    "audit",
    "believed_rewards",
    "contract",
    "episode_labels",
    "expand",
    "find",
    "flipped",
    "judged",
    "learned_method",
    "limited",
    "lora",
    "mean",
    "method",
    "module",
    "moved",
    "optimizer_groups",
    "params",
    "penalty",
    "reinit",
    "routed_linear",
    "scale_grad",
    "set_scale",
    "silence",
    "snapshot",
    "start_from_zero",
    "units",
    "untreated",
    "zero",
]
