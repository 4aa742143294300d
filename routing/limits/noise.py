"""Label noise: a good verdict is taken for bad and a bad one for good, each with the same probability.

The overseer then observes what has the verdict nearest to the opposite one: the noise is a stochastic matrix between
labels. Verdicts of 0, on steps that reached nothing, do not change. Where only one outcome or one region is concerned,
verdicts are wrong as the state decides, and no averaging over episodes corrects them.
"""

import math

import numpy as np

from routing.oversight.limits import Change, Steps, as_probability, concerned, limit


@limit
def noise(
    steps: Steps, rate: float = 0.1, of: str = "", feature: str = "", low: float = -math.inf, high: float = math.inf
) -> Change:
    """A good or bad verdict, on one outcome or region if named, is reversed with probability `rate`."""
    opposite = np.array([_opposite(steps.judgement, label) for label in range(len(steps.labels))])
    label = opposite[steps.label]
    reversed_share = as_probability("rate", rate) * (label != steps.label)
    return Change(reversed_share * concerned(steps, of, feature, low, high), label)


def _opposite(judgement: np.ndarray, label: int) -> int:
    """The label of the other sign whose verdict is nearest to the opposite; the label itself if there is none."""
    verdict = judgement[label]
    others = np.flatnonzero(judgement * np.sign(verdict) < 0)
    if not len(others):
        return label
    return int(others[np.abs(judgement[others] + verdict).argmin()])
