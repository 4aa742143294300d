"""Upper bound: naive oversight with an overseer that observes the true reward. Only the overseer differs from naive."""

from routing.methods.naive import naive
from routing.oversight.overseer import all_seeing
from routing.oversight.registry import method
from routing.oversight.treatment import Rollout, Treatment


@method(overseer=all_seeing)
def oracle(rollout: Rollout) -> Treatment:
    """The true reward on every step, which no overseer of the world can observe."""
    return naive(rollout)
