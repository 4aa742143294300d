"""Naive oversight with inverse propensity weights: a judged episode has weight 1/p."""

from routing.methods.naive import naive
from routing.oversight.registry import method
from routing.oversight.treatment import Rollout, Treatment, inverse_propensity


@method()
def naive_weighted(rollout: Rollout) -> Treatment:
    """Naive oversight with judged episodes weighted by 1/p."""
    return naive(rollout)._replace(weights=inverse_propensity(rollout.feedback))
