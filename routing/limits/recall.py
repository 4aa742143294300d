"""Recall: the overseer misses a share of what it would have seen, of one kind or in one region if need be.

A missed step looks to the overseer as if it had not been watched: see `hidden` of the world. With recall below 1 on bad
endings alone, verdicts are not missing at random, and weights of 1/p no longer make the expected update that of full
oversight. (Imperfect monitors: "recall" of a monitor on a class of bad acts.)
"""

import math

from routing.oversight.limits import Change, Steps, as_probability, concerned, limit


@limit
def recall(
    steps: Steps, rate: float = 0.5, of: str = "", feature: str = "", low: float = -math.inf, high: float = math.inf
) -> Change:
    """What the overseer would have seen, of one outcome or region if named, it sees with probability `rate` only."""
    missed = (1 - as_probability("rate", rate)) * concerned(steps, of, feature, low, high)
    return Change(missed, steps.hidden[steps.label])
