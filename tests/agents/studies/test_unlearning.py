"""Unlearning by hand on two weights, and on the language model: what may move, and what it does to the losses."""

import copy

import pytest
import torch
from torch import nn

from agents.studies.language_model import Transformer, token_losses
from agents.studies.removed_models import without_concept
from agents.studies.stories import Stories
from agents.studies.unlearning import (
    ascent_loss,
    block_outputs,
    dampen,
    dampening,
    descend,
    fisher,
    hooked,
    rmu_loss,
    unlearn_by_ascent,
    unlearn_by_rmu,
    unlearn_by_ssd,
)

GRAMMAR = {"subjects": 3, "verbs": 4, "objects": 4, "choices": 2}


class TwoWeights(nn.Module):
    """The loss of the concept is a^2 / 2, and that of all other data b^2 / 2."""

    def __init__(self, a=1.0, b=1.0):
        super().__init__()
        self.a, self.b = (nn.Parameter(torch.tensor([value])) for value in (a, b))

    @property
    def halves(self):
        return self.a.square() / 2, self.b.square() / 2


def language_model():
    torch.manual_seed(0)
    stories = Stories(0, **GRAMMAR)
    generator = torch.Generator().manual_seed(0)
    model = Transformer(len(stories.words), width=16, hidden=16, heads=2)
    return stories, model, generator, lambda: stories.draw(4, generator, share=0.5)


def test_ascent_with_descent_grows_the_weight_of_the_concept_and_shrinks_the_other():
    model = TwoWeights()
    descend(lambda: ascent_loss(*model.halves, weight=2.0), torch.optim.SGD(model.parameters(), lr=0.1), steps=2)
    assert float(model.a.detach()) == pytest.approx(1.1**2)
    assert float(model.b.detach()) == pytest.approx(0.8**2)


def test_the_loss_of_rmu_is_the_distance_to_the_target_plus_that_to_the_frozen_model():
    model, frozen, target = TwoWeights(), torch.tensor([[1.0]]), torch.tensor([3.0])
    loss = lambda: rmu_loss(model.a[None], target, model.b[None], frozen, weight=2.0)  # noqa: E731
    assert float(loss().detach()) == 4.0
    descend(loss, torch.optim.SGD(model.parameters(), lr=0.25), steps=2)
    assert float(model.a.detach()) == pytest.approx(2.5)  # half of the distance at each step
    assert float(model.b.detach()) == 1.0


def test_the_fisher_information_is_the_mean_of_squared_gradients():
    model = TwoWeights()
    found = fisher(model, ((model.a * x + model.b).sum() for x in (1.0, 3.0)))
    assert {name: float(value) for name, value in found.items()} == {"a": 5.0, "b": 1.0}


def test_only_weights_above_the_threshold_are_dampened_and_by_the_ratio_of_importances():
    forget, everything = torch.tensor([8.0, 2.0, 1.0, 0.0]), torch.tensor([1.0, 1.0, 1.0, 0.0])
    assert dampening(forget, everything, threshold=2.0, strength=1.0).tolist() == [0.125, 1.0, 1.0, 1.0]
    assert dampening(forget, everything, threshold=0.5, strength=4.0).tolist() == [0.5, 1.0, 1.0, 1.0]


def test_dampening_scales_the_parameters_of_the_concept():
    model = TwoWeights(3.0, 5.0)
    importance = {"a": torch.tensor([4.0]), "b": torch.tensor([0.0])}, {"a": torch.tensor([1.0]), "b": torch.ones(1)}
    dampen(model, *importance, threshold=2.0, strength=1.0)
    assert (float(model.a.detach()), float(model.b.detach())) == (0.75, 5.0)


def test_rmu_trains_one_block_and_moves_concept_tokens_towards_its_target():
    _, model, generator, draw = language_model()
    before, batch = copy.deepcopy(model), draw()
    unlearn_by_rmu(model, draw, generator, steps=40, coefficient=20.0, weight=10.0, rate=1e-2)
    moved = {name for name, value in model.state_dict().items() if not torch.equal(value, before.state_dict()[name])}
    assert moved == {name for name in model.state_dict() if name.startswith("blocks.0.")}
    outputs = [block_outputs(trained, batch.tokens, "blocks.0").detach() for trained in (model, before)]
    change, about = (outputs[0] - outputs[1]).norm(dim=-1), batch.token > 0
    assert float(change[about].mean()) > 1.2 * float(change[~about].mean())


def test_gradient_ascent_raises_the_forget_loss_more_than_the_retain_loss():
    _, model, _, draw = language_model()
    batch = draw()
    before = token_losses(model, batch.tokens).detach()
    unlearn_by_ascent(model, draw, steps=20, weight=1.0, rate=3e-3)
    rise = token_losses(model, batch.tokens).detach() - before
    assert float(rise[batch.token > 0].mean()) > 0.5 > float(rise[batch.token == 0].mean())


def test_ssd_shrinks_weights_and_a_threshold_that_none_exceeds_changes_nothing():
    stories, model, generator, _ = language_model()
    forget, everything = stories.draw(2, generator, kind=1), stories.draw(4, generator)
    before = copy.deepcopy(model)
    unlearn_by_ssd(model, forget, everything, threshold=1e12, strength=1.0)
    same = [torch.equal(a, b) for a, b in zip(model.embedding.weight[1:4], before.embedding.weight[1:4], strict=True)]
    assert all(same)
    unlearn_by_ssd(model, forget, everything, threshold=1.0, strength=0.5)
    for a, b in zip(model.parameters(), before.parameters(), strict=True):
        assert bool((a.abs() <= b.abs()).all())


def test_a_hook_edits_an_output_within_its_context_only():
    layer = nn.Sequential(nn.Identity())
    with hooked(layer, "0", lambda output: 2 * output):
        assert float(layer(torch.ones(1))) == 2.0
    assert float(layer(torch.ones(1))) == 1.0


class StandIn:
    seed = 0

    def record(self, step, values): ...
    def progress(self, share): ...


def test_what_is_edited_or_filtered_is_compared_with_the_model_that_was_trained_on_everything():
    stories = Stories(0, **GRAMMAR)
    found = {m: without_concept(StandIn(), stories, m, 3, 1) for m in ("rmu", "filter_document")}
    assert found["rmu"].before == found["filter_document"].before
    assert found["rmu"].after != found["filter_document"].after
