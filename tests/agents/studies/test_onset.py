"""The onset of routing: new units before and after it, and the study on a tiny budget."""

import math
from types import SimpleNamespace

import pytest
import torch

from agents.studies import find_study
from agents.studies.language_model import Transformer
from agents.studies.onset import step_size, train_from_onset
from agents.studies.removal import localised
from agents.studies.removed_models import RATE
from agents.studies.stories import Stories

RUN = SimpleNamespace(seed=0, record=lambda step, values: None, progress=lambda share: None)


def trained(level, start, steps=5):
    torch.manual_seed(0)
    stories = Stories(0, subjects=3, verbs=4, objects=4, choices=2, share=0.5)
    model = Transformer(len(stories.words), width=16, hidden=8, heads=2)
    regions, router = localised(model, level, 4)
    train_from_onset(RUN, regions, router, stories, torch.Generator().manual_seed(0), start, steps)
    return model


def columns(model):
    """The columns that read the new units; they are 0 after the expansion."""
    return model.blocks[0].mlp.down.weight.detach()[:, 8:]


def test_new_units_learn_from_the_onset_on_in_fine_tuning_too():
    distances = [float(columns(trained("parameter", start)).abs().mean()) for start in (0, 5)]
    assert distances[0] > distances[1] > 0


def test_until_the_onset_a_routed_model_trains_as_the_control():
    models = [trained(level, start=4, steps=4) for level in ("none", "parameter", "forward_ablated")]
    assert all(float(columns(model).abs().max()) == 0 for model in models)  # a fifth of 4 steps is none
    for model in models[1:]:
        torch.testing.assert_close(model.state_dict(), models[0].state_dict())


def test_the_step_size_falls_over_the_last_half_and_is_a_fifth_in_fine_tuning():
    assert [step_size(share) / RATE for share in (0.0, 0.5, 0.75, 1.0, 1.1)] == [1.0, 1.0, 0.5, 0.2, 0.2]


@pytest.mark.parametrize("arm", ["control", "forward_ablated"])
def test_the_study_reports_finite_read_outs(arm):
    study = find_study("onset")
    found = study.measure(RUN, **study.settings("quick", arm, 0.5) | {"steps": 2, "subjects": 3})
    assert all(math.isfinite(value) for value in found.values())
    assert found["forget_removed"] == found["forget_after"] - found["forget_before"]
