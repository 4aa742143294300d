"""Deployment rules that measure the scale of the forget experts."""

import pytest

from agents.deployment import SCALES, largest_scale
from routing import Measured

RISING = [0.10 + 0.01 * i for i in range(11)]


@pytest.mark.parametrize(
    ("rates", "tolerance", "against", "untrained", "scale"),
    [
        (RISING, 0.035, "ablated", 0.0, 0.3),
        (RISING, 0.0, "ablated", 1.0, 0.0),
        (RISING, 1.0, "ablated", 0.0, 1.0),
        (RISING, 0.0, "untrained", 0.155, 0.5),
        (RISING, 0.01, "untrained", 0.155, 0.6),
        (RISING, 0.0, "untrained", 0.05, 0.0),  # not even scale 0 is low enough
        ([0.1, 0.9, 0.1, *[0.9] * 8], 0.0, "ablated", 0.0, 0.2),
    ],
)
def test_the_largest_scale_whose_rate_is_within_the_tolerance_is_deployed(rates, tolerance, against, untrained, scale):
    assert largest_scale(rates, Measured(tolerance, against), untrained) == scale


def test_the_grid_is_the_tenths_from_0_to_1():
    assert SCALES == (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
