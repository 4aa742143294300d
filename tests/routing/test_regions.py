"""Regions resolve to the parameters they name, and rules to one weight for each example and region."""

import pytest
import torch
from torch import nn

from routing import Regions, Rules, module, params, units


@pytest.fixture
def model() -> nn.Module:
    layers = {"fc1": nn.Linear(4, 6), "norm": nn.LayerNorm(6), "fc2": nn.Linear(6, 3, bias=False), "act": nn.ReLU()}
    return nn.Sequential(nn.Embedding(5, 4), nn.ModuleDict(layers), nn.Conv2d(3, 8, 1, groups=1))


def entries(model, part) -> dict[str, int]:
    """Return the number of entries of each parameter in a region."""
    region = Regions(model, {"r": part})["r"]
    return {piece.name: piece.of(piece.parameter).numel() for piece in region.pieces}


def test_a_module_contains_all_its_parameters(model):
    assert entries(model, module("1")) == {
        "1.fc1.weight": 24,
        "1.fc1.bias": 6,
        "1.norm.weight": 6,
        "1.norm.bias": 6,
        "1.fc2.weight": 18,
    }


def test_a_pattern_selects_the_parameters_that_match(model):
    assert entries(model, params("1.*.bias")) == {"1.fc1.bias": 6, "1.norm.bias": 6}


def test_units_contain_the_rows_that_write_them_and_the_columns_that_read_them(model):
    part = units("1.fc1", slice(-2, None), out="1.fc2")
    assert entries(model, part) == {"1.fc1.weight": 8, "1.fc1.bias": 2, "1.fc2.weight": 6}


@pytest.mark.parametrize(("path", "numbers"), [("0", [5 * 2]), ("1.norm", [2, 2]), ("2", [2 * 3, 2])])
def test_units_of_embeddings_norms_and_convolutions_are_their_features(model, path, numbers):
    assert list(entries(model, units(path, slice(1, 3))).values()) == numbers


def test_entries_in_several_parts_of_a_region_count_once(model):
    assert entries(model, [module("1.fc1"), params("1.fc1.*")]) == {"1.fc1.weight": 24, "1.fc1.bias": 6}


def test_elsewhere_is_every_entry_outside_every_region(model):
    regions = Regions(model, {"a": module("0"), "b": units("1.fc1", slice(0, 2), out="1.fc2")})
    outside = {name: int(mask.sum()) for name, mask in regions.elsewhere().items()}
    assert outside["1.fc1.weight"] == 16
    assert "0.weight" not in outside
    everything = sum(p.numel() for p in model.parameters())
    assert sum(outside.values()) == everything - 20 - (8 + 2 + 6)


def test_regions_print_their_contents(model):
    lines = repr(Regions(model, {"a": units("1.fc1", slice(0, 2), out="1.fc2"), "b": params("2.bias")})).splitlines()
    assert [line.split() for line in lines[1:3]] == [
        ["a", "16", "1.fc1[0:2],", "1.fc2.weight[:,", "0:2]"],
        ["b", "8", "2.bias"],
    ]
    assert lines[3].startswith("(elsewhere)")


@pytest.mark.parametrize(
    ("part", "message"),
    [
        (module("1.fc_1"), "unknown module '1.fc_1'; did you mean '1.fc1'"),
        (params("*.wieght"), "unknown parameter '*.wieght'"),
        (units("1.act", slice(0, 2)), "is a ReLU, which has no units"),
        (units("1.fc1", slice(6, 8)), "out of range for '1.fc1', which has 6"),
        (units("1.fc1", slice(2, 2)), "which has 6"),
        (units("0", slice(0, 2), out="1.fc2"), "reads 6 units, but '0' has 4"),
        (units("1.fc1", slice(0, 2), out="1.norm"), "cannot read units"),
        (units("1.fc1", slice(0, 2), out="1.fc3"), "did you mean '1.fc2'"),
    ],
)
def test_an_invalid_part_raises_a_one_line_error_when_regions_are_built(model, part, message):
    with pytest.raises(ValueError, match=r".+") as caught:
        Regions(model, {"r": part})
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_parametrized_parameter_is_rejected():
    model = nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(2, 2)))
    with pytest.raises(ValueError, match="parametrization"):
        Regions(model, {"r": module("0")})


@pytest.fixture
def rules(model) -> Rules:
    regions = Regions(model, {"a": module("0"), "b": module("1")})
    return Rules(regions, ("x", "y", "z"), {"x": {"a": 0.0}, "y": {"b": -0.5}}, default=2.0)


def test_rules_are_a_table_with_a_default(rules):
    assert rules.table.tolist() == [[0, 2], [2, -0.5], [2, 2]]
    assert "x" in repr(rules).splitlines()[1]


def test_hard_labels_select_rows_and_soft_labels_mix_them(rules):
    hard = torch.tensor([[0, 2], [1, 1]])
    assert torch.equal(rules.weigh(hard), rules.table[hard])
    assert torch.equal(rules.weigh(nn.functional.one_hot(hard, 3).double()), rules.table[hard])
    assert rules.weigh(torch.tensor([[0.5, 0.5, 0.0]])).tolist() == [[1.0, 0.75]]


def test_direct_rules_return_the_labels_bit_for_bit(rules):
    weights = torch.randn(6, 2)
    assert torch.equal(Rules.direct(rules.regions).weigh(weights), weights)


def test_rules_without_labels_or_with_unknown_names_are_rejected(rules):
    with pytest.raises(ValueError, match="no labels"):
        Rules(rules.regions, ())
    with pytest.raises(ValueError, match="did you mean 'x'"):
        Rules(rules.regions, ("x", "y"), {"xx": {"a": 1.0}})
    with pytest.raises(ValueError, match="unknown region 'c'"):
        Rules(rules.regions, ("x", "y"), {"x": {"c": 1.0}})
    with pytest.raises(ValueError, match="no regions"):
        Regions(rules.regions.model, {})
