"""The study of my_study.py, in a very small size."""

import math

import torch
from my_study import my_study


class Curves:
    """A run that keeps the points of its curves."""

    seed = 0

    def __init__(self) -> None:
        self.points: list[tuple[int, dict]] = []

    def record(self, step, values):
        self.points.append((step, values))

    def progress(self, share):
        assert 0 <= share <= 1


def test_every_arm_returns_a_finite_error():
    for arm, level in my_study.conditions("quick"):
        torch.manual_seed(0)
        run = Curves()
        readouts = my_study.measure(run, **{**my_study.settings("quick", arm, level), "steps": 20})
        assert math.isfinite(readouts["error"])
        assert run.points[0][1]["error"] > readouts["error"]  # it has learned
