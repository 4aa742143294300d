"""The flow meets Prefect's requirements for scheduling."""

import importlib
import subprocess
import sys
from pathlib import Path

import cloudpickle
import pytest
import yaml
from prefect.exceptions import ParameterTypeError
from prefect.utilities.schema_tools.validation import validate

from flows.compare import compare
from flows.config import CompareConfig, RunOptions
from flows.errors import UserError
from flows.serve import deployments
from flows.study import study


def test_the_flow_can_be_pickled_for_another_process():
    program = "import sys, cloudpickle; print(cloudpickle.load(sys.stdin.buffer).name)"
    done = subprocess.run([sys.executable, "-c", program], input=cloudpickle.dumps(compare), capture_output=True)
    assert done.stdout == b"compare\n"


def form() -> dict:
    """The fields of the compare deployment's form, by name."""
    return compare.parameters.definitions["CompareConfig"]["properties"]


def test_the_form_shows_bounds_and_descriptions():
    sweep = form()
    assert sweep["seeds"]["minimum"] == 1
    assert sweep["oversight"]["items"] == {"maximum": 1, "minimum": 0, "type": "number"}
    learner = compare.parameters.definitions["Training"]["properties"]
    more = sweep["more"]["properties"]
    assert all(field["description"] for name, field in {**sweep, **more}.items() if name not in ("training", "more"))
    assert all(field["description"] for field in learner.values())


def test_the_form_starts_with_the_settings_of_a_comparison_and_groups_the_others():
    for fields in (form(), form()["more"]["properties"]):
        assert [field["position"] for field in fields.values()] == list(range(len(fields)))  # PostgreSQL sorts names
    assert list(form()) == ["methods", "oversight", "seeds", "steps", "name", "more"]
    grouped = form()["more"]["properties"].keys()
    assert {*form(), *grouped} == {*CompareConfig.model_fields, "more"}


FLAT = {"methods": ["naive"], "steps": 7, "env": "envs:keyhole/TMaze-v0", "training": {"width": 8}, "name": "old"}


def test_parameters_of_a_deployment_without_the_group_stay_valid():
    validate({"config": FLAT}, compare.parameters.model_dump(), raise_on_error=True)
    config = compare.validate_parameters({"config": FLAT})["config"]
    assert (config.env, config.steps, config.training.width, config.name) == ("envs:keyhole/TMaze-v0", 7, 8, "old")


def test_a_form_that_fills_the_group_with_defaults_does_not_change_ungrouped_settings():
    more = {"env": "envs:keyhole/DiamondGhost-v0", "checkpoints": 20}
    config = compare.validate_parameters({"config": {**FLAT, "more": more}})["config"]
    assert (config.env, config.training.width) == ("envs:keyhole/TMaze-v0", 8)


@pytest.mark.parametrize("learner", ["reinforce", "ppo"])
def test_a_deployments_parameters_are_its_settings_as_the_form_groups_them(learner):
    config = CompareConfig(
        methods=("naive",), learner=learner, training={"width": 8}, env_kwargs={"size": 3}, workers=5
    )
    options = RunOptions(next_seeds=True)
    parameters = deployments(config, options, "0 3 * * *", "UTC")[0].parameters
    assert list(parameters["config"]) == ["methods", "oversight", "seeds", "steps", "name", "more"]
    validate(parameters, compare.parameters.model_dump(), raise_on_error=True)
    assert compare.validate_parameters(parameters) == {"config": config, "options": options}


def test_an_unknown_setting_of_a_deployment_is_rejected():
    with pytest.raises(ParameterTypeError, match="stepps"):
        compare.validate_parameters({"config": {"more": {"stepps": 7}}})


@pytest.mark.parametrize("paused", [True, False])
def test_a_paused_schedule_is_served_inactive(paused):
    (schedule,) = deployments(CompareConfig(), RunOptions(), "0 3 * * *", "UTC", paused)[0].schedules
    assert schedule.active is not paused


def test_an_invalid_sweep_fails_before_anything_is_opened(checkout):
    with pytest.raises(UserError, match="did you mean 'naive'"):
        compare.fn(CompareConfig(methods=("naiv",)))
    assert not (checkout / "mlruns").exists()


def test_a_learner_that_is_chosen_in_the_form_gets_its_own_defaults():
    served = CompareConfig(learner="reinforce").form()
    changed = {**served, "more": {**served["more"], "learner": "ppo"}}
    config = compare.validate_parameters({"config": changed})["config"]
    assert config == CompareConfig(learner="ppo")
    assert "default" not in form()["more"]["properties"]["training"]


def test_a_learners_setting_that_was_given_is_kept_in_the_form():
    config = CompareConfig(learner="reinforce", training={"n_envs": 8})
    assert config.form()["more"]["training"]["n_envs"] == 8
    assert CompareConfig.model_validate(config.form()) == config


@pytest.mark.parametrize(
    ("flat", "group", "expected"),
    [
        ({"checkpoints": 7}, {"checkpoints": 20}, 7),  # the form fills the group with the default
        ({"checkpoints": 7}, {"checkpoints": 9}, 9),  # edited in the form
        ({}, {"checkpoints": 9}, 9),
        ({"checkpoints": 7}, {}, 7),
    ],
)
def test_an_edit_in_the_form_of_an_older_deployment_counts(flat, group, expected):
    assert CompareConfig.model_validate({**flat, "more": group}).checkpoints == expected


def test_nested_settings_of_both_forms_are_merged():
    flat, group = {"n_steps": 5, "width": 9}, {"n_steps": 32, "width": 8, "n_epochs": 2}
    training = CompareConfig.model_validate({"training": flat, "more": {"training": group}}).training
    assert (training.n_steps, training.width, training.n_epochs) == (5, 8, 2)


def test_what_is_served_and_what_a_work_pool_runs_are_the_same_flows():
    served = {made.flow_name for made in deployments(CompareConfig(), RunOptions(), None, "UTC")}
    pooled = set()
    for deployment in yaml.safe_load((Path(__file__).parents[2] / "prefect.yaml").read_text())["deployments"]:
        file, _, name = deployment["entrypoint"].partition(":")
        pooled.add(getattr(importlib.import_module(file.removesuffix(".py").replace("/", ".")), name).name)
    assert pooled == served == {"compare", "study", "certify", "report"}


def test_a_study_that_is_started_from_its_form_has_the_seeds_of_its_preset():
    (deployed,) = (one for one in deployments(CompareConfig(), RunOptions(), None, "UTC") if one.flow_name == "study")
    validate(deployed.parameters, study.parameters.model_dump(), raise_on_error=True)
    started = study.validate_parameters({"config": {"study": "modules", "preset": "full", "seeds": 0}})
    assert started["config"].seeds == 8
