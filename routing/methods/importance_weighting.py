"""Inverse propensity weights whose propensity is estimated from what was reached, instead of declared.

The run is stopped where a part of what is reached is never judged: no weights correct for that.
"""

from routing.oversight.registry import method

method(
    "importance_weighting",
    "Naive oversight with judged episodes weighted by 1/P(judged | z), estimated, at most 10.",
    shorthand="weights",
    reward="verdict",
    weights="propensity_weights(10)",
)
