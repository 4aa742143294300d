"""Gradient routing (Cloud et al. 2024, arXiv 2410.04332, section 4.3).

`gradient_routing` is the update as the paper's authors ran it: samples are weighted equally and the critic's baseline
is subtracted on all of them. docs/methods.md lists the differences that are left.

`gradient_routing_weighted` differs in two parts. Judged episodes have weight 1/p, at most 10: while verdicts are few,
the policy that collects them drifts by chance towards diamonds or ghosts. And judged episodes have no baseline: the
critic has learned their proxy return, and cancels it.
"""

from routing.oversight.registry import method

method(
    "gradient_routing",
    "Good episodes train one expert, bad episodes another that is ablated at deployment (as published).",
    masks="routed",
    gate_loss="verdict",
    deploy="retain",
)
method(
    "gradient_routing_weighted",
    "Gradient routing with judged episodes weighted by 1/p, at most 10, and without a baseline on them.",
    base="gradient_routing",
    weights="ipw(10)",
    baseline="unjudged",
)
