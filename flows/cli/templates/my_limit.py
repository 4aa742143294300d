"""A limit of the overseer: it misses a share of the bad steps that it would have observed."""

import numpy as np

from routing import Change, Steps, limit


@limit
def my_limit(steps: Steps, rate: float = 0.5) -> Change:
    """Each step with a bad verdict is missed with probability `rate`."""
    if not 0 <= rate <= 1:
        raise ValueError(f"my_limit has rate {rate}; it must be from 0 to 1")
    bad = steps.verdict < 0  # (n,): nan, no verdict, compares false
    return Change(np.where(bad, rate, 0.0), steps.hidden[steps.label])  # the label that a missed step looks like


# A limit without history is such a function: with the returned probability, drawn for each step, the overseer observes
# the returned label instead. It enters the tables of a world and its certificate. A limit with a history, such as a
# budget, is a class that is created with the run's seed. Called with the view of a rollout, it returns the view with
# other verdicts; `snapshot()` and `restore(state)` save it with the run.
