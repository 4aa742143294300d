"""The audit of routed gradients, and how optimisers treat them: masks act on gradients, not on updates."""

import pytest
import torch
from torch import nn

from routing import Regions, Router, Rules, audit, module, moved, optimizer_groups, penalty, silence, snapshot, units


@pytest.fixture
def model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 6), nn.Tanh(), nn.Linear(6, 2))


@pytest.fixture
def x() -> torch.Tensor:
    return torch.randn(8, 4)


LABELS = torch.tensor([0, 1] * 4)


def half(model) -> Rules:
    """Rules by which examples labelled "off" do not train half of the units of a hidden layer."""
    regions = Regions(model, {"half": units("2", slice(0, 3), out="4")})
    return Rules(regions, ("off", "on"), {"off": {"half": 0.0}})


@pytest.mark.parametrize(
    ("level", "leaks"),
    [
        ("activation", [("off", "half")]),  # columns that read the units still learn
        ("rows", [("off", "half")]),
        ("columns", [("off", "half")]),
        ("parameter", []),
        ("forward_ablated", []),
    ],
)
def test_audit_reports_the_leaks_of_each_level(model, x, level, leaks):
    found = audit(model, Router(model, half(model), level), x, LABELS)
    assert found.leaks == leaks
    assert ("LEAK" in str(found)) == bool(leaks)
    assert found.labels == ("off", "on")
    assert torch.equal(found.routed[1], found.unrouted[1])


def test_audit_shows_that_only_activation_masks_stop_learning_upstream(model, x):
    """A mask on a layer's activations stops everything upstream; a mask on its parameters stops nothing upstream."""
    rules = Rules(Regions(model, {"middle": module("2")}), ("off", "on"), {"off": {"middle": 0.0}})
    rests = {level: audit(model, Router(model, rules, level), x, LABELS) for level in ("activation", "parameter")}
    assert rests["parameter"].routed[0, 1] == rests["parameter"].unrouted[0, 1]
    assert rests["activation"].routed[0, 1] < rests["activation"].unrouted[0, 1]


def test_audit_changes_neither_parameters_nor_their_gradients(model, x):
    rules = half(model)
    before = snapshot(rules.regions)
    audit(model, Router(model, rules), x, LABELS)
    assert moved(before, snapshot(rules.regions)) == {"half": 0, "(elsewhere)": 0}
    assert all(p.grad is None for p in model.parameters())


def train(model, rules, optimizer, x, steps, labels, silent=False) -> None:
    router = Router(model, rules, "parameter")
    for _ in range(steps):
        optimizer.zero_grad()
        with router(labels):
            model(x).square().sum().backward()
        if silent:
            silence(rules.regions, "middle")
        optimizer.step()


@pytest.fixture
def rules(model) -> Rules:
    return Rules(Regions(model, {"middle": module("2")}), ("off", "on"), {"off": {"middle": 0.0}})


OFF, ON = torch.zeros(8, dtype=torch.long), torch.ones(8, dtype=torch.long)


def test_adam_never_moves_a_region_that_receives_no_gradient(model, rules, x):
    before = snapshot(rules.regions)
    train(model, rules, torch.optim.Adam(model.parameters(), 0.1), x, 20, OFF)
    change = moved(before, snapshot(rules.regions))
    assert change["middle"] == 0
    assert change["(elsewhere)"] > 0.1


def test_adam_never_moves_units_that_receive_no_gradient(model, x):
    rules = half(model)
    before = snapshot(rules.regions)
    train(model, rules, torch.optim.Adam(model.parameters(), 0.1), x, 20, OFF)
    assert moved(before, snapshot(rules.regions))["half"] == 0


def test_adamw_decays_a_region_without_gradient_by_its_factor(model, rules, x):
    before = model[2].weight.detach().clone()
    train(model, rules, torch.optim.AdamW(model.parameters(), 0.1, weight_decay=0.2), x, 5, OFF)
    torch.testing.assert_close(model[2].weight, before * (1 - 0.1 * 0.2) ** 5, rtol=1e-6, atol=0)


def test_momentum_moves_a_masked_region_unless_it_is_silenced(model, rules, x):
    optimizer = torch.optim.AdamW(model.parameters(), 0.01)
    train(model, rules, optimizer, x, 3, ON)
    before = snapshot(rules.regions)
    train(model, rules, optimizer, x, 3, OFF, silent=True)
    between = snapshot(rules.regions)
    assert moved(before, between)["middle"] == 0
    train(model, rules, optimizer, x, 3, OFF)
    assert moved(between, snapshot(rules.regions))["middle"] > 0


def test_optimizer_groups_contain_every_parameter_once_with_its_options(model, rules):
    groups = optimizer_groups(rules.regions, {"middle": {"weight_decay": 0.5}, "(elsewhere)": {"lr": 0.3}})
    assert [(g["name"], len(g["params"])) for g in groups] == [("middle", 2), ("(elsewhere)", 4)]
    optimizer = torch.optim.AdamW(groups, 0.1)
    assert [(g["weight_decay"], g["lr"]) for g in optimizer.param_groups] == [(0.5, 0.1), (0.01, 0.3)]


def test_optimizer_groups_reject_parts_of_parameters_and_overlaps(model):
    with pytest.raises(ValueError, match="only part of '2"):
        optimizer_groups(half(model).regions)
    with pytest.raises(ValueError, match="share a parameter"):
        optimizer_groups(Regions(model, {"a": module("2"), "b": module("")}))
    with pytest.raises(ValueError, match="unknown region 'c'"):
        optimizer_groups(Regions(model, {"a": module("2")}), {"c": {}})


@pytest.mark.parametrize("p", [1, 2])
def test_penalty_is_a_sum_of_powers_with_gradients_in_its_region_alone(model, p):
    regions = half(model).regions
    cost = penalty(regions, "half", p)
    entries = torch.cat([model[2].weight[:3].flatten(), model[2].bias[:3], model[4].weight[:, :3].flatten()])
    torch.testing.assert_close(cost, entries.abs().pow(p).sum())
    cost.backward()
    assert not model[2].weight.grad[3:].any()
    assert not model[4].weight.grad[:, 3:].any()
    assert model[0].weight.grad is None


def test_audit_selects_examples_on_the_declared_axis(model, x):
    first = audit(model, Router(model, half(model), "parameter"), x[:, None].expand(8, 3, 4), LABELS)
    second = audit(model, Router(model, half(model), "parameter", batch_dim=1), x.expand(3, 8, 4), LABELS)
    assert second.leaks == first.leaks == []
    assert second.routed.shape == first.routed.shape
