"""Arms of a sweep: how they are read, which share a run, and which controls are added."""

import pytest

from flows.arms import base_method, parse_arm, same_arms, split_list, trained_once, with_controls
from flows.cli.settings import configuration
from flows.config import CompareConfig, TrainConfig
from flows.errors import UserError
from flows.sweep.checks import check_sweep, expand_controls


def arms_of(text: str, **options) -> tuple[str, ...]:
    return configuration(CompareConfig, {"methods": text, **options}).methods


def test_a_list_of_arms_is_split_outside_of_brackets():
    text = "naive(weights=ipw(10),baseline=none)@knowledge=blind, oracle,naive@shape=[5,5]"
    assert arms_of(text) == ("naive(weights=ipw(10),baseline=none)@knowledge=blind", "oracle", "naive@shape=[5,5]")
    assert split_list("0.1, 0.2,,0.3") == ("0.1", "0.2", "0.3")


@pytest.mark.parametrize(
    ("name", "method", "arguments"),
    [
        ("naive", "naive", {}),
        ("naive@size=5@knowledge=blind", "naive", {"size": 5, "knowledge": "blind"}),
        ('naive(weights=ipw(10))@note="a@b,c"', "naive(weights=ipw(10))", {"note": "a@b,c"}),
        ("naive @ size = [1,2]", "naive", {"size": [1, 2]}),
        ("penalty(2)@size=5", "penalty(2)", {"size": 5}),
        ("theirs:theirs(2)", "theirs:theirs(2)", {}),
    ],
)
def test_an_arm_is_a_method_and_arguments_of_its_world(name, method, arguments):
    assert parse_arm(name) == (method, arguments)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("naive(weights=ipw(10)", "lacks a closing"),
        ("naive(wights=ipw)", "did you mean 'weights'"),
        ("naive(weights)", "PART=VALUE"),
        ("naive@size", "NAME=VALUE"),
        ("@size=5", "write NAME"),
        ("naive(weights=ipw)(x)", "write NAME"),
    ],
)
def test_an_arm_of_another_form_is_refused_before_anything_is_imported_for_training(text, words):
    with pytest.raises(UserError, match=words):
        arms_of(text)


@pytest.mark.parametrize(
    ("arms", "words"),
    [
        (("naive(weights=ipv)",), "unknown weights 'ipv'; did you mean 'ipw'"),
        (("naive(masks=routed,network=single)",), "masks=routed needs a forget block"),
        (("naive_weighted", "naive(weights=ipw,deploy=whole)"), "are the same composition; leave one out"),
        (("naive(weights=ipw(0.5))",), "a weight is at least 1"),
        (("penalty(2)", "penalty(reward=penalty(2.0))"), "are the same composition; leave one out"),
        (("penalty(a)",), "dose is 'a', which is not of type float"),
        (("naive(reward=penalty(-1))",), "a penalty is 0 or more"),
        (("gradient_routing(network=adapters,gate_loss=none)",), "level=activation needs layers"),
    ],
)
def test_a_composition_that_cannot_train_is_refused_before_training(arms, words):
    with pytest.raises(UserError, match=words) as refused:
        check_sweep(CompareConfig(methods=arms, steps=64, oversight=(0.5,)))
    assert "\n" not in str(refused.value)


def test_arms_that_differ_in_deployment_alone_share_a_run_with_the_rules_of_all():
    names = ("proxy", "proxy(deploy=early_stopping)", "proxy(deploy=whole+best_checkpoint)", "naive", "proxy@size=3")
    assert trained_once(names) == {
        "proxy": "proxy(deploy=whole+early_stopping+best_checkpoint)",
        "naive": "naive",
        "proxy@size=3": "proxy",
    }
    runs = CompareConfig(methods=names, oversight=(0.1,), seeds=2).runs()
    assert [run.label for run in runs] == ["proxy", "naive", "proxy@size=3"] * 2
    assert runs[0].method == "proxy(deploy=whole+early_stopping+best_checkpoint)"


def test_a_shorthand_is_the_label_of_its_run_and_shares_it_with_arms_that_differ_in_deployment():
    names = ("penalty(0.5)", "penalty(2)", "penalty(reward=penalty(2),deploy=early_stopping)", "penalty")
    runs = CompareConfig(methods=names, oversight=(0.1,), seeds=1).runs()
    assert [run.label for run in runs] == ["penalty(0.5)", "penalty(2)", "penalty"]
    assert runs[1].method == "penalty(reward=penalty(2),deploy=whole+early_stopping)"
    assert base_method("penalty(2)/early_stopping") == "penalty"


def test_arms_of_a_method_that_is_not_registered_here_are_grouped_by_their_text():
    """A sweep is listed without importing its environment, and must not seem to lack the runs that arms share."""
    names = ("theirs", "theirs(deploy=early_stopping)", "theirs(weights=ipw)", "theirs@size=3")
    runs = CompareConfig(methods=names, oversight=(0.1,), seeds=1).runs()
    assert [run.label for run in runs] == ["theirs", "theirs(weights=ipw)", "theirs@size=3"]


def test_equal_compositions_are_found_by_their_parts_and_their_world():
    assert same_arms(("naive_weighted", "naive", "naive(weights=ipw,deploy=whole)")) == (
        "naive_weighted",
        "naive(weights=ipw,deploy=whole)",
    )
    assert same_arms(("naive@size=3", "naive@size=4", "naive", "unknown", "unknown2")) is None


def test_controls_follow_the_arms_in_the_same_world_and_none_comes_twice():
    found = with_controls(("gradient_routing@size=3", "gradient_routing(masks=none)@size=3"))
    assert found[:2] == ("gradient_routing@size=3", "gradient_routing(masks=none)@size=3")
    assert all(name.endswith("@size=3") for name in found)
    assert "no_routing@size=3" not in found
    assert same_arms(found) is None
    config = CompareConfig(methods=("gradient_routing",), controls=True, oversight=(0.1,), seeds=1)
    assert [run.label for run in config.runs()] == list(config.arms)
    assert len(config.arms) == 13


def test_a_sweep_records_its_controls_by_name():
    """Another version may have other controls; a sweep must not seem to lack them."""
    config = CompareConfig(methods=("gradient_routing",), controls=True, oversight=(0.1,), seeds=1)
    expanded = expand_controls(config)
    assert (expanded.methods, expanded.controls) == (config.arms, False)
    assert expanded.runs() == config.runs()
    assert expand_controls(expanded) is expanded
    with pytest.raises(UserError, match="did you mean 'naive'"):
        expand_controls(CompareConfig(methods=("naiv",), controls=True))


def test_a_row_is_reduced_to_its_method():
    assert base_method("naive(weights=ipw(10))@size=3/early_stopping") == "naive"
    assert base_method("naive/best_checkpoint") == "naive"


def test_one_run_takes_parts_but_no_argument_of_the_world():
    assert configuration(TrainConfig, {"method": "naive(weights=ipw(10))"}).label == "naive(weights=ipw(10))"
    with pytest.raises(UserError, match="use --set"):
        configuration(TrainConfig, {"method": "naive@size=3"})


def test_a_setting_that_became_a_part_is_named():
    with pytest.raises(ValueError, match="baseline=unjudged"):
        CompareConfig(training={"routed_baseline": True})
    assert CompareConfig(training={"routed_baseline": None}).training == CompareConfig().training


@pytest.mark.parametrize(("words", "controls"), [(["--controls"], True), (["--controls", "false"], False), ([], False)])
def test_a_setting_that_is_true_or_false_needs_no_value_to_be_true(words, controls, monkeypatch):
    from click.testing import CliRunner

    from flows.cli import commands
    from flows.cli.main import cli

    seen = []
    monkeypatch.setattr(commands, "run_comparison", lambda config, options: seen.append(config.controls))
    assert CliRunner().invoke(cli, ["compare", *words, "--methods", "naive"]).exit_code == 0
    assert seen == [controls]
