"""Selected: how likely the overseer sees a step depends on the state.

Verdicts are then missing not at random but as the state decides, which an agent can learn to exploit.
"""

import numpy as np

from routing.oversight.limits import Change, Steps, as_probability, feature_values, limit


@limit
def selected(steps: Steps, rates: tuple = (1.0,), feature: str = "") -> Change:
    """What it would have seen the overseer sees with probability `rates[v]`, v being the value of a state feature."""
    chances = np.array([as_probability("rates", rate) for rate in rates], float)
    if not len(chances):
        raise ValueError("selected has no rates; give one for each value of the feature, as in rates=[1,0.5]")
    if not feature:
        raise ValueError("selected has no feature; name one, as in selected(rates=[1,0.5],feature=row)")
    values = feature_values(steps, feature)
    known = (values >= 0) & (values < len(chances)) & (values == np.floor(values))
    if not known.all():
        raise ValueError(
            f"selected has rates for the values 0 to {len(chances) - 1}, and {feature} is {values[~known][0]:g}; "
            "give a rate for each value"
        )
    return Change(1 - chances[values.astype(np.intp)], steps.hidden[steps.label])
