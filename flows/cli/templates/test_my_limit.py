"""Tests of the limit; run them with `python -m pytest test_my_limit.py`."""

import numpy as np
from my_limit import my_limit

from routing import Steps

LABELS, JUDGEMENT, HIDDEN = ("nothing", "good", "bad"), np.array([np.nan, 1.0, -1.0]), np.array([0, 0, 0])


def test_my_limit_hides_bad_steps_alone():
    label = np.array([0, 1, 2])
    steps = Steps(
        label=label,
        verdict=JUDGEMENT[label],
        outcome=np.zeros(3, int),
        terminated=np.ones(3, bool),
        features=np.zeros((3, 0)),
        labels=LABELS,
        judgement=JUDGEMENT,
        hidden=HIDDEN,
        outcomes=("end",),
        feature_names=(),
    )
    probability, label = my_limit(steps, rate=0.25)
    np.testing.assert_array_equal(probability, [0, 0, 0.25])
    assert label[2] == 0
