"""Oversight methods and gradient routing: from overseer feedback to the gradient of each parameter.

Importing this package registers every part and every method.
"""

# ruff: noqa: I001  (parts are registered before the methods that are made of them)
import routing.parts
import routing.methods
import routing.limits  # noqa: F401  (registers)
from routing.ablation import ablate, ablated, mean, reinit, zero
from routing.audit import Audit, audit, moved, snapshot
from routing.backward.linear import routed_linear
from routing.backward.primitives import scale_grad
from routing.lora import lora, set_scale, start_from_zero
from routing.optim import SplitAdam, optimizer_groups, penalty, silence
from routing.oversight.limits import LIMITS, Change, Steps, limit, parse_limits
from routing.oversight.overseer import Overseer, View, all_seeing, limited
from routing.oversight.composition import Acting, After, Composition, Deployment, Measured, Network, Optimizer
from routing.oversight.parts import KINDS, PARTS, part
from routing.oversight.registry import METHODS, differing_parts, find, method
from routing.oversight.treatment import (
    BLOCKS,
    CODES,
    GATE,
    RETAIN,
    Feedback,
    Labels,
    Rollout,
    Treat,
    Treatment,
    believed_rewards,
    blocks_of,
    episode_labels,
    judged,
    unmasked,
    untreated,
)
from routing.regions import Regions, Rules
from routing.router import Router
from routing.selectors import module, params, units
from routing.surgery import contract, expand

__all__ = [
    "BLOCKS",
    "CODES",
    "GATE",
    "KINDS",
    "LIMITS",
    "METHODS",
    "PARTS",
    "RETAIN",
    "Acting",
    "After",
    "Audit",
    "Change",
    "Composition",
    "Deployment",
    "Feedback",
    "Labels",
    "Measured",
    "Network",
    "Optimizer",
    "Overseer",
    "Regions",
    "Rollout",
    "Router",
    "Rules",
    "SplitAdam",
    "Steps",
    "Treat",
    "Treatment",
    "View",
    "ablate",
    "ablated",
    "all_seeing",
    "audit",
    "believed_rewards",
    "blocks_of",
    "contract",
    "differing_parts",
    "episode_labels",
    "expand",
    "find",
    "judged",
    "limit",
    "limited",
    "lora",
    "mean",
    "method",
    "module",
    "moved",
    "optimizer_groups",
    "params",
    "parse_limits",
    "part",
    "penalty",
    "reinit",
    "routed_linear",
    "scale_grad",
    "set_scale",
    "silence",
    "snapshot",
    "start_from_zero",
    "units",
    "unmasked",
    "untreated",
    "zero",
]
