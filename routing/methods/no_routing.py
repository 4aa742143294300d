"""Control for the masks: everything of gradient routing but its masks."""

from routing.oversight.registry import method

method("no_routing", "Gradient routing without its masks.", base="gradient_routing", masks="none")
