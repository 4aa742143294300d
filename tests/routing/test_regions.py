import pytest
import torch
from torch import nn

from routing import Regions, Rules, module, params, units


@pytest.fixture
def model() -> nn.Module:
    layers = {"fc1": nn.Linear(4, 6), "norm": nn.LayerNorm(6), "fc2": nn.Linear(6, 3, bias=False), "act": nn.ReLU()}
    return nn.Sequential(nn.Embedding(5, 4), nn.ModuleDict(layers), nn.Conv2d(3, 8, 1, groups=1))


def held(model, part) -> dict[str, int]:
    """Numbers held of each parameter."""
    region = Regions(model, {"r": part})["r"]
    return {piece.name: piece.of(piece.parameter).numel() for piece in region.pieces}


def test_a_module_holds_all_its_parameters(model):
    assert held(model, module("1")) == {
        "1.fc1.weight": 24,
        "1.fc1.bias": 6,
        "1.norm.weight": 6,
        "1.norm.bias": 6,
        "1.fc2.weight": 18,
    }


def test_a_pattern_holds_the_parameters_that_match(model):
    assert held(model, params("1.*.bias")) == {"1.fc1.bias": 6, "1.norm.bias": 6}


def test_units_hold_the_rows_that_write_them_and_the_columns_that_read_them(model):
    part = units("1.fc1", slice(-2, None), out="1.fc2")
    assert held(model, part) == {"1.fc1.weight": 8, "1.fc1.bias": 2, "1.fc2.weight": 6}


@pytest.mark.parametrize(("path", "numbers"), [("0", [5 * 2]), ("1.norm", [2, 2]), ("2", [2 * 3, 2])])
def test_units_of_embeddings_norms_and_convolutions_are_their_features(model, path, numbers):
    assert list(held(model, units(path, slice(1, 3))).values()) == numbers


def test_several_parts_make_one_region_and_count_once(model):
    assert held(model, [module("1.fc1"), params("1.fc1.*")]) == {"1.fc1.weight": 24, "1.fc1.bias": 6}


def test_elsewhere_is_every_entry_that_no_region_holds(model):
    regions = Regions(model, {"a": module("0"), "b": units("1.fc1", slice(0, 2), out="1.fc2")})
    loose = {name: int(mask.sum()) for name, mask in regions.elsewhere().items()}
    assert loose["1.fc1.weight"] == 16
    assert "0.weight" not in loose
    everything = sum(p.numel() for p in model.parameters())
    assert sum(loose.values()) == everything - 20 - (8 + 2 + 6)


def test_regions_print_what_they_hold(model):
    lines = repr(Regions(model, {"a": units("1.fc1", slice(0, 2), out="1.fc2"), "b": params("2.bias")})).splitlines()
    assert [line.split() for line in lines[1:3]] == [
        ["a", "16", "1.fc1[0:2],", "1.fc2.weight[:,", "0:2]"],
        ["b", "8", "2.bias"],
    ]
    assert lines[3].startswith("(elsewhere)")


@pytest.mark.parametrize(
    ("part", "said"),
    [
        (module("1.fc_1"), "unknown module '1.fc_1'; did you mean '1.fc1'"),
        (params("*.wieght"), "unknown parameters"),
        (units("1.act", slice(0, 2)), "it is a ReLU"),
        (units("1.fc1", slice(6, 8)), "which has 6"),
        (units("1.fc1", slice(2, 2)), "which has 6"),
        (units("0", slice(0, 2), out="1.fc2"), "reads 6 units, but '0' has 4"),
        (units("1.fc1", slice(0, 2), out="1.norm"), "cannot read units"),
        (units("1.fc1", slice(0, 2), out="1.fc3"), "did you mean '1.fc2'"),
    ],
)
def test_what_a_region_cannot_hold_is_said_at_once_in_one_line(model, part, said):
    with pytest.raises(ValueError, match=r".+") as caught:
        Regions(model, {"r": part})
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_computed_parameter_is_refused():
    model = nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(2, 2)))
    with pytest.raises(ValueError, match="parametrization"):
        Regions(model, {"r": module("0")})


@pytest.fixture
def rules(model) -> Rules:
    regions = Regions(model, {"a": module("0"), "b": module("1")})
    return Rules(regions, ("x", "y", "z"), {"x": {"a": 0.0}, "y": {"b": -0.5}}, default=2.0)


def test_rules_are_one_table_with_a_default(rules):
    assert rules.table.tolist() == [[0, 2], [2, -0.5], [2, 2]]
    assert "x" in repr(rules).splitlines()[1]


def test_hard_labels_pick_rows_and_soft_labels_mix_them(rules):
    hard = torch.tensor([[0, 2], [1, 1]])
    assert torch.equal(rules.weigh(hard), rules.table[hard])
    assert torch.equal(rules.weigh(nn.functional.one_hot(hard, 3).double()), rules.table[hard])
    assert rules.weigh(torch.tensor([[0.5, 0.5, 0.0]])).tolist() == [[1.0, 0.75]]


def test_direct_rules_pass_weights_through_bit_for_bit(rules):
    weights = torch.randn(6, 2)
    assert torch.equal(Rules.direct(rules.regions).weigh(weights), weights)


def test_rules_without_labels_or_with_unknown_names_are_refused(rules):
    with pytest.raises(ValueError, match="no labels"):
        Rules(rules.regions, ())
    with pytest.raises(ValueError, match="did you mean 'x'"):
        Rules(rules.regions, ("x", "y"), {"xx": {"a": 1.0}})
    with pytest.raises(ValueError, match="unknown region 'c'"):
        Rules(rules.regions, ("x", "y"), {"x": {"c": 1.0}})
    with pytest.raises(ValueError, match="no regions"):
        Regions(rules.regions.model, {})
