"""The best variant of gradient routing that a prototype of the grid found.

Three parts differ from gradient routing. Bad episodes also push the retain expert away from what they did. The deployed
policy acts in half of the episodes, so what it does is judged too. And in the last tenth of the run only judged
episodes train.
"""

from routing.oversight.registry import method

method(
    "routing_tuned",
    "Routing that pushes the retain expert from bad episodes, acts by it in half, and ends on judged ones.",
    base="gradient_routing",
    masks="routed(push=1)",
    weights="judged_at_end",
    acting="deployed",
)
