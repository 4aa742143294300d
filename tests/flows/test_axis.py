"""The axis of a sweep: without one, runs are what they were; with one, an argument changes in place of `oversight`."""

import hashlib
from pathlib import Path

import pytest
from pydantic import ValidationError

from flows import arms
from flows.axis import Axis, parse_axis, with_limit
from flows.config import ONE_LEVEL, CompareConfig, TrainConfig
from flows.running.train import world_arguments
from flows.tracking.cache_key import run_key
from flows.tracking.certificates import certificate_params, certificate_path, references
from flows.tracking.provenance import provenance, run_params

PLAIN = CompareConfig(
    methods=("naive", "naive(weights=ipw(10))@knowledge=blind"), oversight=(0.1, 1.0), seeds=2, env_kwargs={"size": 3}
)


def sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def test_runs_without_an_axis_have_the_settings_of_earlier_versions():
    assert sha(PLAIN.model_dump_json()) == "6ccfd09f9a69"
    assert sha("".join(run.model_dump_json() for run in PLAIN.runs())) == "a25be9c5f729"
    assert not {"axis", "level", "overseer"} & run_params(PLAIN.runs()[0]).keys()
    assert set(run_params(PLAIN)) - set(provenance()) == {
        "checkpoints", "controls", "dask_address", "env", "env_kwargs", "learner", "methods", "name", "oversight",
        "ray_address", "reference", "runner", "seeds", "start", "steps", "training", "workers",
    }  # fmt: skip


def test_runs_without_an_axis_have_the_cache_keys_of_earlier_versions():
    assert [run_key(run, "digest")[:12] for run in PLAIN.runs()[:4]] == [
        "7d70853d18c0",
        "393a2ea94a32",
        "5a66ee240e89",
        "ffe43895ca5c",
    ]


def test_runs_without_an_axis_have_the_titles_and_tags_of_earlier_versions():
    assert [run.title for run in PLAIN.runs()[:3]] == [
        "naive p=0.1 seed=0",
        "naive(weights=ipw(10))@knowledge=blind p=0.1 seed=0",
        "naive p=1 seed=0",
    ]
    assert PLAIN.runs()[0].tags == {
        "kind": "run",
        "env": "envs:keyhole/DiamondGhost-v0",
        "method": "naive",
        "arm": "naive",
        "oversight": "0.1",
        "seed": "0",
    }


def test_certificates_of_oversight_levels_have_the_file_names_of_earlier_versions():
    assert certificate_path(Path("sweep"), PLAIN.runs()[0].at) == Path("sweep/certificate-0.1.json")


def axis(text: str, **settings) -> CompareConfig:
    return CompareConfig(axis=text, **{"methods": ("naive", "filtering"), "seeds": 1, **settings})


def test_each_run_of_a_sweep_has_its_value_as_an_argument_of_the_environment():
    runs = axis("size=2,3", env_kwargs={"knowledge": "blind"}, methods=("naive", "naive@regime=bandit")).runs()
    assert [(run.env_kwargs["size"], run.level, run.axis, run.oversight) for run in runs] == [
        (2, 2, "size", ONE_LEVEL),
        (2, 2, "size", ONE_LEVEL),
        (3, 3, "size", ONE_LEVEL),
        (3, 3, "size", ONE_LEVEL),
    ]
    assert runs[1].env_kwargs == {"knowledge": "blind", "regime": "bandit", "size": 2}
    assert [run.title for run in runs[::2]] == ["naive size=2 seed=0", "naive size=3 seed=0"]
    assert {name: runs[0].tags[name] for name in ("axis", "level", "oversight")} == {
        "axis": "size", "level": "2", "oversight": "0.1",
    }  # fmt: skip
    assert run_params(runs[0])["level"] == 2


def test_each_run_of_a_sweep_has_its_value_as_a_parameter_of_a_limit():
    runs = axis("recall.rate=0.2,0.5", overseer="recall(of=ghost,rate=1)|noise(0.05)", methods=("naive",)).runs()
    assert [run.overseer for run in runs] == [f"recall(of=ghost,rate={rate})|noise(0.05)" for rate in (0.2, 0.5)]
    assert [run.title for run in runs] == ["naive recall.rate=0.2 seed=0", "naive recall.rate=0.5 seed=0"]
    assert world_arguments(runs[0]) == {"oversight_prob": 0.1, "overseer": runs[0].overseer}
    assert run_params(runs[0])["overseer"] == runs[0].overseer


def test_a_parameter_is_added_to_a_limit_that_leaves_it_at_its_default():
    assert with_limit("recall|noise(0.05)", "recall.rate", 0.2) == "recall(rate=0.2)|noise(0.05)"


@pytest.mark.parametrize("overseer", ["", "noise(0.05)", "recall|recall(rate=1)"])
def test_a_limit_that_is_not_there_once_cannot_be_changed(overseer):
    with pytest.raises(ValueError, match=r"--overseer (lacks|has) the limit 'recall'"):
        with_limit(overseer, "recall.rate", 0.2)


@pytest.mark.parametrize(
    "text",
    ["size=2,3", "knowledge=aware,blind", "goal=[1,2],[3,4]", 'name="a,b","true",true,null', "p=0.1,1e-07,10.0", "x=1"],
)
def test_the_text_of_an_axis_and_the_settings_of_its_runs_can_be_read_back(text):
    config = axis(text)
    assert config.axis == text
    assert CompareConfig.model_validate_json(config.model_dump_json()) == config
    for run in config.runs():
        read = TrainConfig.model_validate_json(run.model_dump_json())
        assert (read, read.at) == (run, run.at)
        (value,) = parse_axis(str(Axis(run.axis, (run.at.text,)))).values
        assert (value, type(value)) == (run.level, type(run.level))


def test_equal_axes_are_written_in_one_form():
    assert axis(" size = 2, 3 ") == axis("size=2,3")
    assert axis('goal=[1, 2],"x"').axis == "goal=[1,2],x"
    assert axis("  ").axis == ""


def test_levels_are_sorted_by_value_if_all_are_numbers_and_else_stay_in_the_given_order():
    assert [level.text for level in sorted(parse_axis("size=10,9,2").levels)] == ["2", "9", "10"]
    assert [level.text for level in sorted(parse_axis("knowledge=blind,aware").levels)] == ["blind", "aware"]
    assert [level.position for level in parse_axis("size=10,none,2").levels] == [0, 1, 2]
    assert [level.numeric for level in parse_axis("on=true,false").levels] == [False, False]
    assert [level.numeric for level in parse_axis("x=1,Infinity").levels] == [False, False]


def test_an_unknown_level_comes_last():
    known = parse_axis("knowledge=blind,aware")
    assert sorted([known.level("edited"), *known.levels])[-1].text == "edited"


def test_keys_of_levels_are_distinct_names_of_files_and_params():
    texts = ("a(1)", "a[1]", "a/1", "a 1", "x" * 500, "x" * 501, "1e-07", "..")
    keys = [level.key for level in Axis("name", texts).levels]
    assert len(set(keys)) == len(texts)
    assert all(key.replace("-", "").replace("_", "").replace(".", "").replace("+", "").isalnum() for key in keys)
    assert max(map(len, keys)) < 100


def test_params_of_certificates_give_back_the_references_of_each_level():
    known = {
        "optimal_return": 1.0, "enforceable_return": 0.1, "enforceable_return_uniform_ties": 0.5,
        "naive_optimum_return": 0.5, "enforceable_is_exact": True,
    }  # fmt: skip
    sweep = parse_axis("recall.rate=0.5,0.25")
    params = {}
    for level in sweep.levels:
        params |= {
            name: str(value)
            for name, value in certificate_params(level, known | {"optimal_return": level.position}).items()
        }
    found = references({**params, "certificate.other.optimal_return": "1"}, sweep)
    assert {level.text: known.optimal_return for level, known in found.items()} == {"0.25": 0.25, "0.5": 0.5}
    assert certificate_path(Path("sweep"), sweep.levels[0]) == Path("sweep/certificate-recall.rate-0.5.json")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("size", "the axis size has no values"),
        ("size=", "the axis size has no values"),
        ("=2,3", "an axis has a name and values"),
        ("size-2=3", "an axis has a name and values"),
        ("size=2,,3", "has an empty value"),
        ("size=2,2.0", "2.0 is named twice"),
        ("size=[2,3", "lacks a closing"),
        ("oversight_prob=0.1,0.2", "use --oversight 0.1,0.2"),
        ("oversight=0.1", "use --oversight 0.1"),
    ],
)
def test_a_malformed_axis_is_refused(text, message):
    with pytest.raises(ValidationError, match=message):
        axis(text)


def test_a_sweep_with_an_axis_has_one_oversight_level():
    assert axis("size=2,3", oversight=(0.3,)).oversight == (0.3,)
    with pytest.raises(ValidationError, match=r"has one oversight level, found 0.1, 0.2; write --oversight 0.1"):
        axis("size=2,3", oversight=(0.1, 0.2))


def test_a_form_that_fills_in_the_default_oversight_levels_gets_one():
    form = CompareConfig().form()
    form["more"]["axis"] = "size=2,3"
    assert CompareConfig.model_validate(form).oversight == (ONE_LEVEL,)
    form["oversight"] = [0.1, 0.2]
    with pytest.raises(ValidationError, match="has one oversight level"):
        CompareConfig.model_validate(form)


def test_a_sweep_with_an_axis_is_the_same_after_prefects_form():
    config = axis("size=2,3", overseer="noise(0.05)")
    assert CompareConfig.model_validate(config.form()) == config


def test_controls_of_a_sweep_with_an_axis_are_trained_at_every_level():
    config = axis("size=2,3", methods=("gradient_routing",), controls=True)
    trained = arms.trained_once(config.arms)
    assert len(trained) > 1
    assert {(run.label, run.level) for run in config.runs()} == {(arm, level) for arm in trained for level in (2, 3)}


def test_an_axis_over_a_limit_of_a_module_is_named_without_the_module():
    with pytest.raises(ValueError, match=r"without its module; write mine\.rate=0,1$"):
        parse_axis("my_module:mine.rate=0,1")
