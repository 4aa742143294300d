"""Removal of a concept: rules by level, labels with faults, filters, and the studies on a tiny budget."""

import math

import pytest
import torch

from agents.studies import find_study
from agents.studies.expand_route_ablate import HiddenActivity
from agents.studies.language_model import StoryEvaluation, Transformer, adamw, token_losses, train
from agents.studies.modules import losses_without
from agents.studies.removal import ORDINARY, UNKNOWN, Annotator, annotator, few, labelled_ordinary, localised, passes
from agents.studies.stories import Stories
from routing import ablated, moved, snapshot

GRAMMAR = {"subjects": 3, "verbs": 4, "objects": 4, "choices": 2}


class StandIn:
    def __init__(self, seed=0):
        torch.manual_seed(seed)
        self.seed, self.curves, self.shares = seed, [], []

    def record(self, step, values):
        self.curves.append((step, values))

    def progress(self, share):
        self.shares.append(share)


def built(level, concepts=1, **options):
    torch.manual_seed(0)
    stories = Stories(0, concepts, **GRAMMAR)
    model = Transformer(len(stories.words), width=16, hidden=8, heads=2)
    return stories, model, *localised(model, level, 4, concepts, **options)


def stepped(level, kind, label):
    """How far each region moves in two steps on stories of a kind, all of whose tokens have a label."""
    stories, model, regions, router = built(level)
    generator = torch.Generator().manual_seed(0)
    before = snapshot(regions)
    train(
        model,
        lambda: stories.draw(4, generator, kind=kind),
        2,
        adamw(model, 1e-2, weight_decay=0.0),
        router=router,
        labels=lambda batch: torch.full_like(batch.token, label),
    )
    return moved(before, snapshot(regions))


@pytest.mark.parametrize("level", ["parameter", "forward_ablated", "adapters"])
def test_tokens_of_the_concept_move_no_original_parameter(level):
    distances = stepped(level, 1, ORDINARY + 1)
    assert distances["original"] == 0
    assert distances["concept_1"] > 0


def test_ordinary_tokens_move_the_new_units_unless_these_are_ablated_in_the_forward_pass():
    assert stepped("parameter", 0, ORDINARY)["concept_1"] > 0
    assert stepped("forward_ablated", 0, ORDINARY)["concept_1"] == 0
    assert stepped("forward_ablated", 0, UNKNOWN)["concept_1"] > 0


def test_at_level_activation_the_concept_still_trains_what_is_outside_the_hidden_units():
    stories, model, _, router = built("activation")
    batch = stories.draw(4, torch.Generator().manual_seed(0), kind=1)
    with router(torch.full_like(batch.token, ORDINARY + 1)):
        token_losses(model, batch.tokens).mean().backward()
    assert float(model.blocks[0].mlp.up.weight.grad[:8].abs().sum()) == 0
    assert float(model.blocks[0].mlp.up.weight.grad[8:].abs().sum()) == 0  # the columns that read them are 0
    assert float(model.embedding.weight.grad.abs().sum()) > 0


def test_all_arms_of_new_units_start_from_equal_weights_and_equal_functions():
    states = [built(level)[1].state_dict() for level in ("none", "activation", "parameter", "forward_ablated")]
    assert all(all(torch.equal(a, b) for a, b in zip(states[0].values(), s.values(), strict=True)) for s in states)


def test_a_concept_trains_its_own_module_and_not_that_of_another():
    stories, model, regions, router = built("parameter", concepts=2)
    generator = torch.Generator().manual_seed(0)
    before = snapshot(regions)
    draw, labels = lambda: stories.draw(4, generator, kind=2), lambda batch: torch.full_like(batch.token, ORDINARY + 2)
    train(model, draw, 2, adamw(model, 1e-2, weight_decay=0.0), router=router, labels=labels)
    distances = moved(before, snapshot(regions))
    assert distances["concept_1"] == distances["original"] == 0
    assert distances["concept_2"] > 0


def test_a_perfect_annotator_returns_the_token_labels():
    batch = Stories(0).draw(50, torch.Generator().manual_seed(0))
    assert torch.equal(annotator(0)(batch), ORDINARY + batch.token)


def test_shares_of_an_annotators_faults_are_those_that_were_required():
    stories = Stories(0, share=0.5)
    batch = stories.draw(4000, torch.Generator().manual_seed(0))
    about = batch.story > 0
    labels = annotator(0, undiscovered=0.2, known=0.7)(batch)
    assert float((labels[about] == UNKNOWN).all(1).float().mean()) == pytest.approx(0.2, abs=0.03)
    assert float((labels[~about] == UNKNOWN).all(1).float().mean()) == pytest.approx(0.3, abs=0.03)
    labels = annotator(0, wrong=0.4)(batch)
    flagged = (labels > ORDINARY).any(1).float()
    assert float(flagged[about].mean()) == pytest.approx(0.6, abs=0.03)
    assert float(flagged[~about].mean()) == pytest.approx(0.4, abs=0.03)


def test_filters_by_document_remove_the_story_and_by_token_only_what_is_labelled():
    labels = torch.tensor([[ORDINARY] * 44 + [ORDINARY + 1] * 4, [UNKNOWN] * 48])
    assert passes("filter_token", labels).sum(1).tolist() == [44, 48]
    assert passes("filter_document", labels).sum(1).tolist() == [0, 48]


def test_stories_for_fine_tuning_are_labelled_as_ordinary_throughout():
    stories, generator = Stories(0, share=0.5), torch.Generator().manual_seed(0)
    chosen = labelled_ordinary(stories, generator, Annotator(torch.Generator().manual_seed(1), 0.5, 0.5))
    assert len(chosen.story) == 64
    assert not chosen.story.any()
    assert not few(chosen, generator).token.any()


def test_losses_without_modules_are_those_of_models_with_these_regions_ablated():
    stories, model, regions, _ = built("none", concepts=2)
    generator, evaluation = torch.Generator().manual_seed(0), StoryEvaluation(stories, count=4)
    train(model, lambda: stories.draw(4, generator), 5, adamw(model, 1e-2))
    found = losses_without(regions, evaluation, 2)
    with ablated(regions, "concept_1"):
        first = evaluation.losses(model)
    with ablated(regions, "concept_2"):
        second = evaluation.losses(model)
    assert found["forget_own"] == pytest.approx((first[1] + second[2]) / 2)
    assert found["forget_other"] == pytest.approx((first[2] + second[1]) / 2)
    assert found["retain_one"] == pytest.approx((first[0] + second[0]) / 2)
    assert found["forget_none"] == pytest.approx(sum(evaluation.losses(model)[1:]) / 2)


@pytest.mark.parametrize(
    ("name", "arm", "readout"),
    [
        ("expand_route_ablate", "published", "forget_retrained"),
        ("expand_route_ablate", "adapters", "retain_tuned"),
        ("modules", "parameter", "forget_own"),
        ("partial_labels", "filter_document", "forget_loss"),
        ("wrong_labels", "forward_ablated", "retain_loss"),
        ("forget_share", "no_removal", "forget_loss"),
    ],
)
def test_a_study_reports_finite_losses_of_retain_and_forget(name, arm, readout):
    study, run = find_study(name), StandIn()
    level = study.presets["quick"][study.axis][0] if study.axis else None
    budget = {"steps": 2, "subjects": 3} | ({"tuning": 2} if name == "expand_route_ablate" else {})
    found = study.measure(run, **study.settings("quick", arm, level) | budget)
    assert readout in found
    assert all(math.isfinite(value) and value > 0 for value in found.values())
    assert run.shares[0] == 0


def test_the_activity_is_the_sum_of_positive_hidden_activations_per_token_until_it_is_removed():
    stories, model, _, _ = built("none")
    tokens, hidden = stories.draw(2, torch.Generator().manual_seed(0)).tokens, []
    handle = model.blocks[1].mlp.up.register_forward_hook(lambda _layer, _inputs, output: hidden.append(output))
    activity = HiddenActivity(model)
    token_losses(model, tokens)
    total = activity.take()
    handle.remove()
    assert activity.sums == []
    assert float(total.detach()) > float(hidden[0].relu().sum(-1).mean().detach()) > 0
    activity.remove()
    token_losses(model, tokens)
    assert activity.sums == []
