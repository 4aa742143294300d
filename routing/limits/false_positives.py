"""False positives: the overseer takes something for bad that is not, whether or not it could see it.

The alarm is the label with the lowest verdict, or the one that is named.
"""

import numpy as np

from routing.oversight.limits import Change, Steps, as_probability, concerned, label_index, limit


@limit
def false_positives(steps: Steps, rate: float = 0.1, of: str = "", alarm: str = "") -> Change:
    """An ending, of one outcome if named, that is not judged bad is judged bad with probability `rate`."""
    bad = label_index(steps, alarm) if alarm else int(np.nanargmin(np.append(steps.judgement, np.inf)))
    share = as_probability("rate", rate)
    if bad == len(steps.labels) or not steps.judgement[bad] < 0:
        return Change(np.zeros(len(steps.label)), steps.label)
    taken = concerned(steps, of) & steps.terminated & ~(steps.verdict < 0)
    return Change(share * taken, np.full(len(steps.label), bad))
