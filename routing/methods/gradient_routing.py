"""Gradient routing (Cloud et al. 2024, arXiv 2410.04332, section 4.3).

`gradient_routing` is the update as the paper's authors ran it: samples are weighted equally and the critic's baseline
is subtracted on all of them. docs/methods.md lists the differences that are left.

`gradient_routing_weighted` differs in two parts. Judged episodes have weight 1/p, at most 10: while verdicts are few,
the policy that collects them drifts by chance towards diamonds or ghosts. And judged episodes have no baseline: the
critic has learned their proxy return, and cancels it.

The others change one thing in `gradient_routing`: adapters on a frozen network instead of experts; unlabelled episodes
train the retain expert alone (GRAFT); a forget expert for each kind of bad verdict (GRAM); or a fresh policy that is
trained to act as the ablated one does (Lee et al. 2025, arXiv 2506.06278).
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
method(
    "routed_adapters",
    "Gradient routing of a low-rank adapter for each expert on one frozen network.",
    base="gradient_routing",
    network="adapters",
    level="parameter",
    gate_loss="none",
)
method(
    "routing_retain_unlabelled",
    "Gradient routing in which unlabelled episodes train the retain expert alone.",
    base="gradient_routing",
    masks="routed(retain)",
)
method(
    "routing_by_kind",
    "Gradient routing with a forget expert for each of two kinds of bad verdict.",
    base="gradient_routing",
    network="gated(3)",
    masks="by_kind",
)
method(
    "distil_after_ablation",
    "Gradient routing, and a fresh policy learns to act as the ablated one does.",
    base="gradient_routing",
    after="distil",
)
