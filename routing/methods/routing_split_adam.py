"""Gradient routing by an Adam that does not undo masks by their scale (GRAFT, 2026)."""

from routing.oversight.registry import method

method(
    "routing_split_adam",
    "Gradient routing; Adam's second moment is of the unrouted gradients, so masks shorten steps.",
    base="gradient_routing",
    optimizer="split_adam",
)
