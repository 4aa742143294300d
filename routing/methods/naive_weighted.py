"""Naive oversight with inverse propensity weights. A cap is a parameter: `naive(weights=ipw(10))`."""

from routing.oversight.registry import method

method(
    "naive_weighted",
    "Naive oversight with judged episodes weighted by 1/p.",
    reward="verdict",
    weights="ipw",
)
