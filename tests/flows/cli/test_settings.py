"""Options are derived from the models; the most explicit source wins."""

import re
import subprocess
import sys

import pytest

from flows.arms import parse_arm
from flows.cli import options as cli_options
from flows.cli.settings import configuration, settings
from flows.config import LEARNER_DEFAULTS, CompareConfig, SharedConfig, TrainConfig
from flows.errors import UserError
from flows.presets import PRESETS

HEAVY = ("torch", "mlflow", "prefect", "gymnasium", "numpy", "matplotlib", "scipy")


@pytest.mark.parametrize("model", [CompareConfig, TrainConfig])
def test_every_setting_has_an_option_of_its_own_and_a_description(model):
    names = [setting.option for setting in settings(model)]
    assert len(names) == len(set(names))
    assert all(setting.field.description for setting in settings(model))


def test_help_shows_name_type_default_and_bounds_of_the_model(keyhole):
    code, out, _ = keyhole("compare", "--help")
    text = " ".join(out.split())
    assert code == 0
    assert "--oversight NUMBER,... oversight levels [default: 0.03,0.1,0.3; 0<=x<=1]" in text
    assert "--seeds INTEGER" in text
    assert re.search(r"--learning-rate NUMBER Adam's step size \(ppo: 0.002\) \[default: 0.0\d+; 0<x\]", text)


def test_options_override_the_file_the_preset_and_the_default(tmp_path):
    file = tmp_path / "sweep.toml"
    file.write_text("seeds = 5\nsteps = 7\n[training]\nwidth = 8\n[env_kwargs]\nsize = 4\n")
    options = {"preset": "smoke", "config": str(file), "steps": "9", "training__n_envs": "16", "set": ("regime=iid",)}
    config = configuration(CompareConfig, options)
    smoke = PRESETS["smoke"]
    assert (config.steps, config.seeds, config.oversight) == (9, 5, smoke["oversight"])
    assert (config.training.n_envs, config.training.width) == (16, 8)
    assert config.training.n_steps == smoke["training"]["n_steps"]
    assert config.env_kwargs == {"size": 4, "regime": "iid"}
    assert config.checkpoints == smoke["checkpoints"]


def test_lists_are_split_at_commas_and_integers_may_have_an_exponent():
    config = configuration(CompareConfig, {"methods": "naive, oracle", "oversight": "0.03,1", "steps": "2e6"})
    assert (config.methods, config.oversight, config.steps) == (("naive", "oracle"), (0.03, 1.0), 2_000_000)


def test_none_unsets_an_optional_setting(tmp_path):
    file = tmp_path / "clip.json"
    file.write_text('{"training": {"max_grad_norm": 0.5}}')
    options = {"config": str(file)}
    assert configuration(CompareConfig, options).training.max_grad_norm == 0.5
    assert configuration(CompareConfig, {**options, "training__max_grad_norm": "none"}).training.max_grad_norm is None


def test_all_selects_every_method_that_can_hold_in_the_world_and_names_the_others(capsys):
    import routing

    two_sided = set(configuration(CompareConfig, {"methods": "all"}).methods)
    assert two_sided == set(routing.METHODS) - {"reward_model_pu"}
    assert "left out: method 'reward_model_pu'" in capsys.readouterr().err
    only_good = set(configuration(CompareConfig, {"methods": "all", "overseer": "one_sided(good)"}).methods)
    assert "reward_model_pu" in only_good
    assert not {"penalty", "taint", "importance_weighting"} & only_good


@pytest.mark.parametrize("value", ["5", "0.5", "true", "iid", '"5"'])
def test_an_environment_argument_is_read_as_json_or_else_as_text(value):
    found = configuration(TrainConfig, {"set": (f"x={value}",)}).env_kwargs["x"]
    assert found == {"5": 5, "0.5": 0.5, "true": True, "iid": "iid", '"5"': "5"}[value]


def test_our_worlds_are_prefixed_with_the_module_that_registers_them():
    assert configuration(TrainConfig, {"env": "keyhole/TMaze-v0"}).env == "envs:keyhole/TMaze-v0"
    assert configuration(TrainConfig, {"env": "mine:x/World-v0"}).env == "mine:x/World-v0"


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_are_valid_for_sweeps_and_for_single_runs(preset):
    configuration(CompareConfig, {"preset": preset})
    single = configuration(TrainConfig, {"preset": preset})
    assert single.steps == PRESETS[preset]["steps"]


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_decides_a_family_of_its_size_or_its_help_states_that_it_decides_nothing(preset, keyhole):
    import routing
    from flows.reporting import statistics
    from flows.sweep.checks import check_reference

    config = configuration(CompareConfig, {"preset": preset})
    check_reference(config)
    rules = [rule for name in config.methods for rule in routing.find(parse_arm(name).method).deployments]
    family = (sum(not rule.leaky for rule in rules) - 1) * len(config.oversight)
    decides = statistics.least_pairs(statistics.ALPHA / family) <= config.seeds
    assert decides == (preset in ("figure", "paper", "labels"))
    assert config.seeds >= 12 or not decides
    text = " ".join(keyhole("compare", "--help")[1].split())
    description = text.partition(f"{preset}: ")[2].partition(";")[0].partition("--")[0]
    assert f"{config.seeds} seeds" in description
    assert decides == ("decides nothing" not in description)


def test_the_reference_of_a_preset_is_dropped_with_its_methods():
    assert configuration(CompareConfig, {"preset": "paper"}).reference == "gradient_routing"
    assert configuration(CompareConfig, {"preset": "paper", "methods": "naive,oracle"}).reference == ""


def test_a_sweep_has_every_method_at_every_level_with_every_seed_once():
    config = CompareConfig(methods=("naive", "oracle"), oversight=(0.1, 0.2), seeds=3, steps=5)
    runs = config.runs()
    assert len(runs) == len({(run.method, run.oversight, run.seed) for run in runs}) == 12
    assert all(getattr(run, name) == getattr(config, name) for run in runs for name in SharedConfig.model_fields)


def test_help_imports_nothing_heavy():
    code = f"import sys, flows.__main__; print([m for m in {HEAVY} if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "[]\n"
    done = subprocess.run([sys.executable, "-m", "flows", "--help"], capture_output=True, text=True)
    assert "compare" in done.stdout


def test_every_setting_has_an_option():
    decorated = cli_options.options(CompareConfig)(lambda **_: None)
    declared = {parameter.name for parameter in decorated.__click_params__}
    assert declared == {s.parameter for s in settings(CompareConfig)} - {"env_kwargs"} | {"set", "preset", "config"}


def test_learner_defaults_apply_unless_overridden():
    ppo = configuration(TrainConfig, {"learner": "ppo", "training__n_envs": "16"}).training
    assert (ppo.n_envs, ppo.learning_rate) == (16, LEARNER_DEFAULTS["ppo"]["learning_rate"])
    assert configuration(TrainConfig, {}).training.learning_rate != ppo.learning_rate


@pytest.mark.parametrize("learner", ["reinforce", "ppo"])
def test_every_learner_accepts_all_settings_of_a_run(learner):
    import agents

    settings = TrainConfig(learner=learner).training.model_dump()
    env = agents.make_vec_env("envs:keyhole/TMaze-v0", settings.pop("n_envs"))
    assert agents.build(env, "gradient_routing", 0, algorithm=learner, **settings).n_envs == env.num_envs


def test_an_arm_is_a_method_with_other_environment_arguments():
    options = {"methods": "naive,naive@knowledge=blind@size=3", "oversight": "0.1", "seeds": "1", "set": ["size=4"]}
    plain, blind = configuration(CompareConfig, options).runs()
    assert (plain.method, plain.label, plain.env_kwargs) == ("naive", "naive", {"size": 4})
    assert (blind.method, blind.label) == ("naive", "naive@knowledge=blind@size=3")
    assert blind.env_kwargs == {"size": 3, "knowledge": "blind"}


@pytest.mark.parametrize("name", ["naive@", "naive@size", "naive@=3"])
def test_an_arm_without_a_value_is_rejected(name):
    with pytest.raises(UserError, match="NAME=VALUE"):
        configuration(CompareConfig, {"methods": name})
