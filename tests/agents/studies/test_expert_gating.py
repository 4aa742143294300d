from types import SimpleNamespace

import pytest
import torch

from agents.studies import find_study
from agents.studies.expert_gating import (
    ROTATIONS,
    UNKNOWN,
    GatedExperts,
    expert_regions,
    expert_router,
    removal_readouts,
    rotated,
    subsets,
)

RUN = SimpleNamespace(seed=0, record=lambda step, values: None, progress=lambda share: None)


@pytest.fixture
def model():
    torch.manual_seed(0)
    return GatedExperts(8)


def test_a_labelled_image_trains_its_expert_and_the_gate_only(model):
    router = expert_router(expert_regions(model))
    for label in (*range(ROTATIONS), UNKNOWN):
        model.zero_grad()
        with router(torch.full((3,), label)):
            model(torch.randn(3, 8)).square().sum().backward()
        trained = [bool(expert[0].weight.grad.abs().sum() > 0) for expert in model.experts]
        assert trained == [label in (expert, UNKNOWN) for expert in range(ROTATIONS)]
        assert float(model.gate[0].weight.grad.abs().sum()) > 0


def test_the_router_of_experts_equals_a_loop_over_examples(model):
    labels = torch.arange(10) % (ROTATIONS + 1)
    assert expert_router(expert_regions(model)).check(torch.randn(10, 8), labels) < 1e-10


def test_four_rotations_by_a_quarter_turn_are_the_identity():
    images = torch.randn(2, 64)
    turned, rotations = rotated(images)
    again = turned.view(ROTATIONS, 2, 64)
    assert torch.equal(again[0], images)
    assert torch.equal(rotated(again[3])[0][2:4], images)
    assert rotations.tolist() == [0, 0, 1, 1, 2, 2, 3, 3]


def test_the_subsets_are_all_but_the_empty_and_the_complete_one():
    assert len(set(subsets())) == 2**ROTATIONS - 2


def test_experts_that_do_one_rotation_each_are_removed_with_it_alone():
    """Image r is a one at pixel r. The gate sends it to expert r, which alone classifies it as 7, the others as 0."""
    model = GatedExperts(64)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        model.gate[0].weight[:ROTATIONS, :ROTATIONS] = torch.eye(ROTATIONS)
        model.gate[2].weight[:, :ROTATIONS] = 100 * torch.eye(ROTATIONS)
        for rotation, expert in enumerate(model.experts):
            expert[0].weight[0, rotation] = 2.0
            expert[2].weight[7, 0] = 1.0
            expert[2].bias[0] = 1.0
    images = torch.eye(64)[:ROTATIONS]
    before = [parameter.clone() for parameter in model.parameters()]
    found = removal_readouts(expert_regions(model), images, torch.full((ROTATIONS,), 7))
    assert found == {
        "accuracy": 1.0, "kept_accuracy": 1.0, "removed_accuracy": 0.0, "gap": 1.0, "worst_kept_loss": 0.0
    }  # fmt: skip
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))


@pytest.mark.parametrize("arm", ["unrouted", "shuffled_labels"])
def test_a_run_returns_accuracies(arm):
    study = find_study("expert_gating")
    torch.manual_seed(0)
    readouts = study.measure(RUN, **study.settings("quick", arm, None) | {"steps": 2})
    assert readouts.keys() == {"accuracy", "kept_accuracy", "removed_accuracy", "gap", "worst_kept_loss"}
    assert all(-1 <= value <= 1 for value in readouts.values())
