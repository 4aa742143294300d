"""Steering: the vector, its choice, the share that it recovers, and the study on a tiny budget."""

import math
from types import SimpleNamespace

import pytest
import torch

from agents.studies import find_study
from agents.studies.language_model import StoryEvaluation, Transformer
from agents.studies.steering import (
    best_steering,
    mean_difference,
    random_direction,
    share_recovered,
    steered_losses,
)
from agents.studies.stories import Stories
from agents.studies.unlearning import block_outputs

RUN = SimpleNamespace(seed=0, record=lambda step, values: None, progress=lambda share: None)


def tiny():
    torch.manual_seed(0)
    stories = Stories(0, subjects=3, verbs=4, objects=4, choices=2)
    return stories, Transformer(len(stories.words), width=16, hidden=16, heads=2), torch.Generator().manual_seed(0)


def test_the_vector_is_the_difference_of_means_and_changes_sign_with_the_stories():
    stories, model, generator = tiny()
    one, two = (stories.draw(3, generator, kind=kind) for kind in (1, 0))
    vector = mean_difference(model, "blocks.1", one, two)
    means = [block_outputs(model, batch.tokens, "blocks.1").detach().flatten(0, 1).mean(0) for batch in (one, two)]
    torch.testing.assert_close(vector, means[0] - means[1])
    torch.testing.assert_close(mean_difference(model, "blocks.1", two, one), -vector)
    assert not mean_difference(model, "blocks.1", one, one).any()


def test_the_placebo_has_equal_norm_and_another_direction():
    vector = torch.arange(16.0)
    placebo = random_direction(vector, torch.Generator().manual_seed(0))
    assert float(placebo.norm()) == pytest.approx(float(vector.norm()))
    assert abs(float(torch.cosine_similarity(placebo, vector, 0))) < 0.8


def test_the_choice_is_that_of_the_least_forget_loss_and_leaves_the_model_unchanged():
    stories, model, _ = tiny()
    evaluation = StoryEvaluation(stories, count=4)
    vectors = {"blocks.0": torch.ones(16), "blocks.1": torch.arange(16.0)}
    before = evaluation(model)
    block, coefficient = best_steering(model, evaluation, vectors, (-1.0, 0.0, 1.0))
    least = steered_losses(model, evaluation, block, coefficient * vectors[block])["forget_loss"]
    trials = [(name, c) for name in vectors for c in (-1.0, 0.0, 1.0)]
    losses = [steered_losses(model, evaluation, name, c * vectors[name])["forget_loss"] for name, c in trials]
    assert least == min(losses) <= before["forget_loss"] < max(losses)
    assert steered_losses(model, evaluation) == before


@pytest.mark.parametrize(("steered", "share"), [(3.0, 0.0), (1.0, 1.0), (2.5, 0.25), (4.0, -0.5)])
def test_the_recovered_share_is_of_the_removed_loss(steered, share):
    assert share_recovered(1.0, 3.0, steered) == share


def test_nothing_can_be_recovered_where_nothing_was_removed():
    assert math.isnan(share_recovered(1.0, 1.0, 0.5))


def test_the_study_reports_what_was_removed_and_what_was_recovered():
    study = find_study("steering")
    found = study.measure(RUN, **study.settings("quick", "dense", None) | {"steps": 2, "subjects": 3})
    assert all(math.isfinite(value) for name, value in found.items() if not name.startswith("recovered"))
    assert math.isnan(found["recovered"]) == (found["forget_removed"] <= 0)
