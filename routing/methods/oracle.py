"""The upper bound: an overseer from whom nothing is hidden. Nothing but the overseer differs from naive."""

from routing.methods.naive import naive
from routing.oversight.overseer import all_seeing
from routing.oversight.registry import method
from routing.oversight.treatment import Rollout, Treatment


@method(overseer=all_seeing)
def oracle(rollout: Rollout) -> Treatment:
    """The true reward everywhere: what no overseer of this world can give."""
    return naive(rollout)
