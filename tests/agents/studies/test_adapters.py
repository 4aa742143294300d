import copy
from types import SimpleNamespace

import pytest
import torch

from agents.studies import find_study
from agents.studies.adapters import PRIVATE, PUBLIC, UNKNOWN, adapted, adapter_router, label_of, train_adapters
from agents.studies.training import perceptron
from routing import moved, snapshot

RUN = SimpleNamespace(seed=0, record=lambda step, values: None, progress=lambda share: None)


@pytest.fixture
def regions():
    torch.manual_seed(0)
    return adapted(perceptron((6, 5, 10)), 2, single=False, ruled=True)


def batch():
    generator = torch.Generator().manual_seed(0)
    return torch.randn(40, 6, generator=generator), torch.randint(0, 10, (40,), generator=generator)


@pytest.mark.parametrize(
    ("label", "still"), [(UNKNOWN, {"base"}), (PUBLIC, {"base", "forget"}), (PRIVATE, {"base", "keep"})]
)
def test_examples_of_a_label_move_only_the_regions_that_the_rules_name(regions, label, still):
    before = snapshot(regions)
    train_adapters(RUN, regions, True, *batch(), torch.full((40,), label), steps=5)
    changes = moved(before, snapshot(regions))
    assert {name for name, change in changes.items() if change == 0} - {"(elsewhere)"} == still


def test_a_rule_that_freezes_the_base_is_freezing_it():
    torch.manual_seed(0)
    base, ends = perceptron((6, 5, 10)), []
    for ruled in (True, False):
        torch.manual_seed(1)
        regions = adapted(copy.deepcopy(base), 2, single=False, ruled=ruled)
        train_adapters(RUN, regions, True, *batch(), torch.arange(40) % 3, steps=5)
        ends.append(snapshot(regions))
    assert all(torch.equal(ends[0][name], ends[1][name]) for name in ("keep", "forget"))


def test_the_router_of_adapters_equals_a_loop_over_examples(regions):
    assert adapter_router(regions, True).check(batch()[0], torch.arange(40) % 3) < 1e-10


def test_a_single_adapter_has_as_many_numbers_as_two_of_half_the_rank(regions):
    single = adapted(perceptron((6, 5, 10)), 2, single=True, ruled=True)
    sizes = [sum(p.numel() for p in found.model.parameters()) for found in (regions, single)]
    assert sizes[0] == sizes[1]
    assert set(single) == {"forget", "base"}


def test_shuffled_labels_are_as_many_of_each_kind_on_the_same_images():
    digits = torch.arange(500) % 10
    labels, shuffled = (label_of(digits, 0.5, placebo, seed=0) for placebo in (False, True))
    assert torch.equal(labels == UNKNOWN, shuffled == UNKNOWN)
    assert torch.equal(labels.bincount(), shuffled.bincount())
    assert not torch.equal(labels, shuffled)
    assert torch.equal(labels[labels != UNKNOWN] == PRIVATE, digits[labels != UNKNOWN] >= 7)


@pytest.mark.parametrize("arm", find_study("adapters").arms)
def test_a_run_moves_the_base_by_exactly_nothing(arm):
    study = find_study("adapters")
    torch.manual_seed(0)
    readouts = study.measure(RUN, **study.settings("quick", arm, None) | {"steps": 3})
    assert (readouts["base_moved"], readouts["frozen_difference"]) == (0.0, 0.0)
    assert 0 <= readouts["private_after"] <= 1
    assert readouts["public_drop"] == readouts["public_before"] - readouts["public_after"]
