"""Control for the gate: routing with both experts at coefficient 1/2.

During training the action head reads half of each expert's output. The retain expert is therefore deployed at scale
1/2 and, as a separate deployment rule, at scale 1 as in the gated method. These are different policies.
"""

from routing.oversight.registry import method

method(
    "no_gate",
    "Gradient routing without a gate: both experts have coefficient 1/2.",
    base="gradient_routing",
    network="ungated",
    gate_loss="none",
    deploy="half+full",
)
