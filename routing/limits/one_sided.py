"""One-sided verdicts: the overseer gives bad verdicts only, or good ones only.

A step whose verdict is of the other sign looks to the overseer as if it had not been watched: see `hidden` of the
world. Verdicts of 0, on steps that reached nothing, do not change. What is not judged may then be good or bad, as in
learning from positive and unlabelled data.
"""

import numpy as np

from routing.oversight.limits import Change, Steps, limit

SIGNS = {"bad": -1, "good": 1}


@limit
def one_sided(steps: Steps, keep: str = "bad") -> Change:
    """Of its good and bad verdicts the overseer gives only those that are `keep`: bad or good."""
    if keep not in SIGNS:
        raise ValueError(f"one_sided keeps {keep!r}; use bad or good")
    missed = np.sign(steps.verdict) == -SIGNS[keep]  # nan compares false
    return Change(missed.astype(float), steps.hidden[steps.label])
