"""The language model: causality, labels of predictions, and its loss against the grammar's entropy."""

import pytest
import torch

from agents.studies.language_model import StoryEvaluation, Transformer, adamw, original, token_losses, train
from agents.studies.stories import Stories
from routing import Regions, Router, Rules, expand

SMALL = {"subjects": 4, "verbs": 6, "objects": 6, "choices": 2}


def small(stories, seed=0, **options):
    torch.manual_seed(seed)
    return Transformer(len(stories.words), **{"width": 16, "hidden": 16, "layers": 2, "heads": 2} | options)


def draws(stories, batch=4, seed=0, **options):
    generator = torch.Generator().manual_seed(seed)
    return lambda: stories.draw(batch, generator, **options)


def routed(model, level="parameter"):
    """A model with two new units in each MLP, and a router that trains them on label 1 and all else on label 0."""
    new = [expand(model, up, 2, out=down) for up, down in model.mlps]
    regions = Regions(model, {"original": original(model), "new": new})
    rules = Rules(regions, ("retain", "forget"), {"retain": {"new": 0.0}, "forget": {"original": 0.0}})
    return regions, Router(model, rules, level)


def test_a_token_is_predicted_from_those_before_it_only():
    stories = Stories(0, **SMALL)
    model, batch = small(stories), draws(stories)()
    changed = batch.tokens.clone()
    changed[:, 20:] = 0
    before, after = token_losses(model, batch.tokens), token_losses(model, changed)
    torch.testing.assert_close(before[:, :20], after[:, :20])
    assert not torch.allclose(before[:, 21:], after[:, 21:])


def test_a_trained_model_comes_near_the_entropy_of_the_grammar():
    stories = Stories(0, share=0.5, **SMALL)
    model, evaluation = small(stories, width=32, hidden=32, layers=1), StoryEvaluation(stories, count=16)
    draw = draws(stories, 8)
    train(model, draw, 250, adamw(model, 1e-2), decay=True)
    losses = token_losses(model, draws(stories, 64, seed=1)().tokens)
    assert float(losses.detach().mean()) == pytest.approx(stories.entropy, rel=0.05)
    assert evaluation(model) == pytest.approx(
        dict.fromkeys(("retain_loss", "forget_loss"), stories.fact_entropy), abs=0.15
    )


def test_expansion_and_rules_of_weight_1_train_as_without_a_router():
    stories = Stories(0, **SMALL)
    plain, other = small(stories), small(stories)
    for model, router in ((plain, None), (other, Router(other, Rules(routed(other)[0], ("all",)), "parameter"))):
        if router is None:
            routed(model)
            model.load_state_dict(other.state_dict())
        labels = lambda batch: torch.zeros_like(batch.story)  # noqa: E731
        train(model, draws(stories), 3, adamw(model, 1e-2), router=router, labels=labels)
    torch.testing.assert_close(plain.state_dict(), other.state_dict())


def test_original_and_new_units_are_the_whole_model_and_new_units_do_not_move_on_ordinary_stories():
    stories = Stories(0, **SMALL)
    model = small(stories)
    regions, router = routed(model)
    assert not regions.elsewhere()
    before = [piece.of(piece.parameter).detach().clone() for piece in regions["new"].pieces]
    optimizer = adamw(model, 1e-2, weight_decay=0.0)
    train(model, draws(stories, kind=0), 3, optimizer, router=router, labels=lambda batch: batch.token)
    after = [piece.of(piece.parameter) for piece in regions["new"].pieces]
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


@pytest.mark.parametrize("level", ["activation", "parameter", "forward_ablated", "columns"])
@pytest.mark.parametrize("kind", ["story", "token"])
def test_routed_gradients_are_those_of_a_loop_over_examples(level, kind):
    stories = Stories(0, **SMALL)
    model = small(stories)
    new = [expand(model, up, 2, out=down) for up, down in model.mlps]
    regions = Regions(model, {"new": new})
    batch = draws(stories, 3, share=0.5)()
    router = Router(model, Rules(regions, ("retain", "forget"), {"retain": {"new": 0.0}}), level)
    router.check(batch.tokens, getattr(batch, kind))


def test_a_token_of_weight_0_has_no_influence_and_the_step_size_returns_after_its_decay():
    stories = Stories(0, **SMALL)
    batch = draws(stories)()
    models = small(stories), small(stories)
    weights = torch.zeros_like(batch.tokens, dtype=torch.float32)
    weights[:, :9] = 1.0
    other = batch._replace(tokens=torch.cat([batch.tokens[:, :9], batch.tokens[:, 9:].flip(0)], 1))
    for model, data in zip(models, (batch, other), strict=True):
        optimizer = adamw(model, 1e-2)
        train(model, lambda data=data: data, 2, optimizer, weights=lambda _: weights, decay=True)
        assert optimizer.param_groups[0]["lr"] == 1e-2
    torch.testing.assert_close(models[0].state_dict(), models[1].state_dict())


def test_the_penalty_is_part_of_the_loss_and_steps_are_visited_before_the_first_and_after_the_last():
    stories = Stories(0, **SMALL)
    model, steps = small(stories), []
    size = lambda: model.head.weight.abs().sum()  # noqa: E731
    before = float(size().detach())
    train(model, draws(stories), 3, adamw(model, 1e-2), penalty=size, visit=steps.append)
    assert float(size().detach()) < before
    assert steps == [0, 1, 2, 3]


def test_held_out_losses_are_reported_for_each_concept():
    stories = Stories(0, 3, **SMALL)
    model, evaluation = small(stories), StoryEvaluation(stories, count=4)
    retain, *forget = evaluation.losses(model)
    assert len(forget) == 3
    assert evaluation(model) == pytest.approx({"retain_loss": retain, "forget_loss": sum(forget) / 3})
