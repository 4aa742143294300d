"""Hard experts (DEMix, Gururangan et al. 2021, arXiv 2108.05036): routing whose labelled samples pass one expert only.

In gradient routing every expert is in the forward pass of every sample, so an expert can absorb what a labelled sample
does not train it on. Here a judged sample is computed by the experts that it trains, and nothing is absorbed from it.
"""

from routing.oversight.registry import method

method(
    "hard_experts",
    "Gradient routing whose judged episodes are computed by the expert that they train, alone.",
    base="gradient_routing",
    level="hard",
)
