"""Expansion, contraction, ablation and adapters preserve what they promise to preserve."""

import copy

import pytest
import torch
from torch import nn

from routing import (
    Regions,
    Router,
    Rules,
    ablate,
    ablated,
    contract,
    expand,
    lora,
    mean,
    module,
    reinit,
    set_scale,
    units,
)


@pytest.fixture
def model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 2, bias=False))


@pytest.fixture
def x() -> torch.Tensor:
    return torch.randn(32, 4)


def step(model, optimizer, x) -> None:
    optimizer.zero_grad()
    model(x).square().sum().backward()
    optimizer.step()


def test_expand_then_contract_is_the_identity_of_parameters_and_optimiser_state(model, x):
    optimizer = torch.optim.Adam(model.parameters(), amsgrad=True)
    step(model, optimizer, x)
    before, state = copy.deepcopy(model.state_dict()), copy.deepcopy(optimizer.state_dict()["state"])
    regions = Regions(model, {"new": expand(model, "0", 3, "2", optimizer)})
    assert model[0].weight.shape == (9, 4)
    assert optimizer.state[model[2].weight]["exp_avg_sq"].shape == (5, 9)
    contract(regions, "new", optimizer)
    assert repr(model[0]) == "Linear(in_features=4, out_features=6, bias=True)"
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    for key, values in optimizer.state_dict()["state"].items():
        assert all(torch.equal(values[name], state[key][name]) for name in values)


def test_expand_changes_no_output_and_the_new_units_learn(model, x):
    before = model(x).detach()
    part = expand(model, "0", 3, "2")
    torch.testing.assert_close(model(x), before, rtol=1e-6, atol=1e-6)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    new = Regions(model, {"new": part})["new"].pieces
    start = [piece.of(piece.parameter).detach().clone() for piece in new]
    for _ in range(2):
        step(model, optimizer, x)
    assert all(not torch.equal(piece.of(piece.parameter), value) for piece, value in zip(new, start, strict=True))


def test_contract_preserves_the_optimiser_state_of_remaining_units(model, x):
    optimizer = torch.optim.Adam(model.parameters())
    step(model, optimizer, x)
    regions = Regions(model, {"some": units("0", slice(1, 5, 2), out="2")})
    expected = optimizer.state[model[2].weight]["exp_avg"][:, [0, 2, 4, 5]].clone()
    contract(regions, "some", optimizer)
    assert torch.equal(optimizer.state[model[2].weight]["exp_avg"], expected)
    step(model, optimizer, x)
    assert model(x).shape == (32, 2)


def test_contracting_ablated_units_changes_no_output(model, x):
    regions = Regions(model, {"some": units("0", slice(0, 3), out="2")})
    ablate(regions, "some")
    before = model(x)
    contract(regions, "some")
    torch.testing.assert_close(model(x), before)


def test_convolutions_expand_and_contract():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 2, 1)).double()
    x = torch.randn(2, 3, 5, 5, dtype=torch.float64)
    before = model(x)
    regions = Regions(model, {"new": expand(model, "0", 2, "2")})
    torch.testing.assert_close(model(x), before)
    contract(regions, "new")
    assert torch.equal(model(x), before)


def test_ablation_by_zero_silences_units_until_its_context_ends(model, x):
    regions = Regions(model, {"half": units("0", slice(0, 3), out="2")})
    before, output = copy.deepcopy(model.state_dict()), model(x)
    with ablated(regions, "half"):
        assert not model[0](x)[:, :3].any()
        model[0].weight.data[5] += 0.0
        assert not torch.equal(model(x), output)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_ablation_by_mean_outputs_the_mean_for_every_input(model, x):
    regions = Regions(model, {"half": units("0", slice(0, 3), out="2")})
    means, others = model[0](x)[:, :3].mean(0), model[0](x)[:, 3:]
    with ablated(regions, "half", mean(x)):
        torch.testing.assert_close(model[0](x)[:, :3], means.expand(32, 3))
        torch.testing.assert_close(model[0](x)[:, 3:], others)


def test_reinitialisation_is_reproducible_by_seed_and_leaves_other_units_unchanged(model):
    regions = Regions(model, {"half": units("0", slice(0, 3), out="2")})
    before = copy.deepcopy(model.state_dict())
    fresh = []
    for seed in (0, 0, 1):
        with ablated(regions, "half", reinit(seed)):
            assert torch.equal(model[0].weight[3:], before["0.weight"][3:])
            fresh.append(model[0].weight[:3].clone())
    assert torch.equal(fresh[0], fresh[1])
    assert not torch.equal(fresh[0], fresh[2])


def test_adapters_start_without_effect_and_the_frozen_base_never_moves(model, x):
    output = model(x)
    regions = Regions(model, {name: lora(model, "[02]", 2, name) for name in ("keep", "forget")})
    assert torch.equal(model(x), output)
    rules = Rules(regions, ("bad", "plain"), {"bad": {"keep": 0.0}})
    frozen = {name: p.clone() for name, p in model.named_parameters() if "base" in name}
    optimizer = torch.optim.AdamW(model.parameters(), 0.1)
    keep = [piece.parameter.clone() for piece in regions["keep"].pieces]
    for labels in (["bad"] * 32, ["plain"] * 32):
        with Router(model, rules, "parameter")(labels):
            model(x).square().sum().backward()
        if labels[0] == "bad":
            assert not any(piece.parameter.grad.any() for piece in regions["keep"].pieces)
        optimizer.step()
    assert any(not torch.equal(p, piece.parameter) for p, piece in zip(keep, regions["keep"].pieces, strict=True))
    assert all(torch.equal(p, dict(model.named_parameters())[name]) for name, p in frozen.items())
    assert len(frozen) == 4


def test_scaling_an_adapter_to_zero_restores_the_base(model, x):
    output = model(x)
    regions = Regions(model, {"a": lora(model, "4", 2, "a")})
    for piece in regions["a"].pieces:
        piece.parameter.data.normal_()
    changed = model(x)
    set_scale(model, "a", 0.0)
    assert torch.equal(model(x), output)
    assert not torch.equal(model(x), changed)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m: expand(m, "1", 2, "2"), "'1' cannot be expanded"),
        (lambda m: expand(m, "0", 2, "4"), "'4' reads 5 units, but '0' has 6"),
        (lambda m: contract(Regions(m, {"r": module("0")}), "r"), "not made of units"),
        (lambda m: lora(m, "9", 2, "r"), "unknown linear layer '9'"),
        (lambda m: (lora(m, "0", 2, "r"), lora(m, "0", 2, "r")), "already"),
        (lambda m: ablate(Regions(m, {"r": module("4")}), "r", mean(torch.randn(3, 4))), "no bias to store a mean"),
    ],
)
def test_a_mistake_raises_a_one_line_error(model, call, message):
    with pytest.raises(ValueError, match=r".+") as caught:
        call(model)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
