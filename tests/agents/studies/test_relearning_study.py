"""Updates until a loss is regained, on curves made by hand; distillation; the study on a tiny budget."""

import copy
import math
from types import SimpleNamespace

import pytest
import torch

from agents.studies import find_study
from agents.studies.distillation import divergences, imitate
from agents.studies.language_model import Transformer, adamw, token_losses
from agents.studies.relearning import relearning_curve, updates_to, updates_to_half
from agents.studies.stories import Stories

RUN = SimpleNamespace(seed=0, record=lambda step, values: None, progress=lambda share: None)
CURVE = [(0, 5.0), (2, 4.0), (10, 2.0)]


@pytest.mark.parametrize(
    ("before", "after", "updates"),
    [(1.0, 5.0, 6.0), (3.0, 5.0, 2.0), (4.0, 5.0, 1.0), (-3.0, 5.0, math.inf), (1.0, 9.0, 0.0)],
)
def test_half_of_the_removed_loss_is_regained_where_the_curve_crosses_the_middle(before, after, updates):
    assert updates_to_half(CURVE, before, after) == updates


def test_updates_to_half_are_undefined_if_nothing_was_removed():
    assert math.isnan(updates_to_half(CURVE, 5.0, 5.0))
    assert math.isnan(updates_to_half(CURVE, 5.0, 4.0))


def test_the_first_crossing_of_a_level_counts():
    assert updates_to([(0, 3.0), (1, 1.0), (2, 3.0), (3, 0.0)], 2.0) == 0.5
    assert updates_to([], 2.0) == math.inf


def tiny():
    torch.manual_seed(0)
    stories = Stories(0, subjects=3, verbs=4, objects=4, choices=2)
    return stories, Transformer(len(stories.words), width=16, hidden=16, heads=2)


def test_the_relearning_curve_starts_at_the_model_and_falls_on_the_concept():
    stories, model = tiny()
    curve = relearning_curve(RUN, model, stories, updates=12, rate=1e-2)
    assert [step for step, _ in curve] == [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]
    assert curve[-1][1] < curve[0][1] - 0.5


def test_a_divergence_is_the_cross_entropy_minus_the_entropy_and_vanishes_for_the_teacher():
    stories, student = tiny()
    teacher = Transformer(len(stories.words), width=8, hidden=8, heads=2)
    with torch.no_grad():
        teacher.head.bias[7] = 1e3  # predicts word 7 with certainty
    tokens = torch.full((1, 48), 7)
    torch.testing.assert_close(divergences(student, teacher, tokens), token_losses(student, tokens))
    assert float(divergences(student, copy.deepcopy(student), tokens).abs().max().detach()) < 1e-6


def test_a_student_approaches_its_teacher_which_does_not_move():
    stories, teacher = tiny()
    student, generator = Transformer(len(stories.words), width=16, hidden=16, heads=2), torch.Generator().manual_seed(0)
    before, tokens = copy.deepcopy(teacher.state_dict()), stories.draw(4, generator).tokens
    first = float(divergences(student, teacher, tokens).mean().detach())
    imitate(student, teacher, lambda: stories.draw(4, generator), 20, adamw(student, 1e-2))
    assert float(divergences(student, teacher, tokens).mean().detach()) < 0.8 * first
    assert all(torch.equal(value, before[name]) for name, value in teacher.state_dict().items())


@pytest.mark.parametrize("method", ["forward_ablated", "distilled"])
def test_the_study_reports_finite_read_outs_and_at_most_the_updates_that_were_done(method):
    study = find_study("relearning")
    found = study.measure(RUN, **study.settings("quick", method, None) | {"steps": 2, "updates": 2, "subjects": 3})
    half = found.pop("updates_to_half")
    assert all(math.isfinite(value) for value in found.values())
    assert math.isnan(half) == (found["forget_removed"] <= 0)
    assert math.isnan(half) or half <= 2
    assert found["updates_to_level"] == 2
