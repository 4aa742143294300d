"""The grammar: what it draws, its labels, and its entropy against the probabilities of drawn stories."""

import math

import pytest
import torch

from agents.studies.stories import LENGTH, PERIOD, SENTENCES, Stories


def drawn(stories, count=400, seed=0, **options):
    return stories.draw(count, torch.Generator().manual_seed(seed), **options)


def log_probability(stories, batch):
    """Log probability of each story by the chain rule, written as a reader of the docstring would."""
    subject = batch.tokens[:, 0::4] - 1
    kind = subject // stories.subjects
    first = torch.where(kind[:, 0] > 0, stories.share / stories.concepts, 1 - stories.share).log()
    switch = torch.where(kind[:, 1:] > 0, stories.density, 1 - stories.density).log().sum(1)
    switch = torch.where(kind[:, 0] > 0, switch, 0.0)
    return first + switch - SENTENCES * (math.log(stories.subjects) + math.log(stories.choices))


def test_the_vocabulary_has_about_120_words_and_tokens_are_indices_into_it():
    stories = Stories(0)
    assert len(stories.words) == len(set(stories.words)) == 117
    assert int(drawn(stories).tokens.min()) == 0
    assert 110 < int(drawn(stories).tokens.max()) <= 116


def test_the_concept_appears_in_one_of_six_stories_and_in_half_of_their_later_sentences():
    batch = drawn(Stories(0), 6000)
    about = batch.token[batch.story > 0][:, 4:]
    assert float((batch.story > 0).float().mean()) == pytest.approx(1 / 6, abs=0.02)
    assert float((about > 0).float().mean()) == pytest.approx(0.5, abs=0.02)


def test_every_sentence_is_subject_verb_object_period_and_states_a_fact_of_its_subject():
    stories = Stories(3, 2)
    batch = drawn(stories)
    subject, verb, thing, period = batch.tokens.unflatten(1, (-1, 4)).unbind(2)
    choice = (stories.verb_of[subject - 1] == verb[..., None]).long()
    assert bool((choice.sum(-1) == 1).all())
    assert bool((period == PERIOD).all())
    assert torch.equal(stories.object_of[subject - 1].gather(-1, choice.argmax(-1, keepdim=True))[..., 0], thing)


def test_token_labels_are_the_kind_of_the_sentences_subject_and_ordinary_stories_have_none():
    stories = Stories(0, 3)
    batch = drawn(stories)
    kind = (batch.tokens[:, 0::4] - 1) // stories.subjects
    assert torch.equal(batch.token, kind.repeat_interleave(4, 1))
    assert torch.equal(batch.token[:, 0], batch.story)
    assert not batch.token[batch.story == 0].any()


def test_the_masks_hold_verbs_and_objects_only_and_do_not_overlap():
    stories = Stories(0, 2)
    batch = drawn(stories)
    masks = [batch.retain(), batch.forget(1), batch.forget(2)]
    assert all(stories.words[i].startswith(("verb", "object")) for i in batch.tokens[masks[1]].unique())
    assert int(torch.stack(masks).sum(0).max()) == 1
    assert int(masks[0].sum()) == int((batch.story == 0).sum()) * LENGTH // 2


def test_facts_are_of_the_seed_and_stories_of_the_generator():
    one, two = Stories(1), Stories(1)
    assert torch.equal(one.verb_of, two.verb_of)
    assert torch.equal(one.object_of, two.object_of)
    assert torch.equal(drawn(one).tokens, drawn(two).tokens)
    assert not torch.equal(one.object_of, Stories(2).object_of)
    assert not torch.equal(drawn(one).tokens, drawn(one, seed=1).tokens)


def test_a_kind_and_a_share_of_stories_can_be_required():
    stories = Stories(0, 2)
    assert drawn(stories, kind=2).story.unique().tolist() == [2]
    assert drawn(stories, share=0.0).story.unique().tolist() == [0]
    assert drawn(stories, share=1.0).story.unique().tolist() == [1, 2]


@pytest.mark.parametrize("options", [{}, {"concepts": 3, "share": 0.4, "density": 0.8, "choices": 2}])
def test_the_entropy_is_the_mean_negative_log_probability_of_drawn_stories(options):
    stories = Stories(0, **options)
    measured = -log_probability(stories, drawn(stories, 20_000)).mean() / LENGTH
    assert stories.entropy == pytest.approx(float(measured), abs=2e-3)
    assert stories.fact_entropy == pytest.approx(math.log(stories.choices) / 2)


@pytest.mark.parametrize("options", [{"share": 1.5}, {"density": -0.1}, {"concepts": 0}, {"verbs": 2}])
def test_a_share_that_is_no_probability_and_too_few_words_are_refused(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        Stories(0, **options)
