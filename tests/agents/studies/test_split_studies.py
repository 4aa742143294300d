"""The studies of split codes, each with a tiny budget."""

from math import isfinite

import pytest
import torch

from agents.studies import find_study
from agents.studies.split_autoencoder import absolute_error, half_readouts

BUDGET = {"steps": 2, "certificate_steps": 2}


class TinyRun:
    seed = 0

    def __init__(self):
        torch.manual_seed(0)
        self.curves, self.shares = [], []

    def record(self, step, values):
        self.curves.append((step, *values))

    def progress(self, share):
        self.shares.append(share)


@pytest.mark.parametrize(
    ("name", "settings", "readouts"),
    [
        ("split_autoencoder", {"regularised": True, "labelled": 0.2, "images": 100}, {"top_ratio", "bottom_ratio"}),
        ("class_imbalance", {"regularised": False}, {"bottom_digit_error", "digit_reconstruction_error"}),
        ("split_classifier", {"regularised": True}, {"accuracy", "top_gap", "bottom_gap"}),
        ("split_capacity", {"width": 4}, {"smaller_ratio", "reconstruction_error"}),
        ("split_images", {"images": 64}, {"smaller_ratio", "reconstruction_error"}),
    ],
)
def test_a_run_records_a_curve_and_returns_finite_readouts(name, settings, readouts):
    run = TinyRun()
    found = find_study(name).measure(run, routed=True, **settings, **BUDGET)
    assert readouts <= found.keys()
    assert all(isinstance(value, float) and isfinite(value) for value in found.values())
    assert run.curves == [(1, "training_loss"), (2, "training_loss")]
    assert run.shares == sorted(run.shares)
    assert run.shares[-1] == 1


def test_a_run_is_repeated_bit_for_bit():
    study = find_study("class_imbalance")
    assert study.measure(TinyRun(), **study.settings("quick", "routed", None) | BUDGET) == study.measure(
        TinyRun(), **study.settings("quick", "routed", None) | BUDGET
    )


def test_the_ratio_is_the_error_on_the_other_digits_divided_by_that_on_the_own():
    found = half_readouts("top", torch.tensor([1.0, 3.0, 4.0]), torch.tensor([True, True, False]))
    assert found == {"top_own_error": 2.0, "top_other_error": 4.0, "top_ratio": 2.0}


def test_the_error_is_the_mean_absolute_difference_of_each_example():
    errors = absolute_error(torch.tensor([[1.0, -1.0], [0.0, 0.5]]), torch.zeros(2, 2))
    assert errors.tolist() == [1.0, 0.25]
