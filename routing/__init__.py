"""Oversight methods and gradient routing: from overseer feedback to the gradient of each parameter.

Importing this package registers every method.
"""

import routing.methods  # noqa: F401  (registers)
from routing.ablation import ablate, ablated, mean, reinit, zero
from routing.audit import Audit, audit, moved, snapshot
from routing.backward.linear import routed_linear
from routing.backward.primitives import scale_grad
from routing.lora import lora, set_scale, start_from_zero
from routing.optim import optimizer_groups, penalty, silence
from routing.oversight.overseer import Overseer, View, all_seeing, flipped, limited
from routing.oversight.registry import METHODS, Deployment, Spec, find, learned_method, method
from routing.oversight.treatment import (
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
from routing.regions import Regions, Rules
from routing.router import Router
from routing.selectors import module, params, units
from routing.surgery import contract, expand

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
