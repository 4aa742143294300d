"""Tests of the method; run them with `python -m pytest test_my_method.py`."""

import numpy as np

from routing import Feedback, Rollout, find


def rollout() -> Rollout:
    """One step of each of three copies; every episode ends, and the last one has no verdict."""
    feedback = Feedback(np.array([[1.0, -1.0, np.nan]]), np.ones((1, 3), bool))
    return Rollout(np.ones((1, 3)), np.zeros((3, 1)), np.zeros(1, bool), feedback)


def test_judged_episodes_count_double_in_my_method():
    treatment = find("my_method:my_method").make(0)(rollout())
    np.testing.assert_array_equal(treatment.weights, [[2, 2, 1]])


def test_every_method_can_use_the_part_of_my_method():
    treatment = find("gradient_routing(weights=my_method:my_method_weights(3))").make(0)(rollout())
    np.testing.assert_array_equal(treatment.weights, [[3, 3, 1]])
