"""A figure that cannot be drawn is missing from the run, and nothing else is."""

import json

import gymnasium
import numpy as np
import pytest
import torch
from PIL import Image

import envs  # noqa: F401  (registers)
from agents import BlockPolicy, action_probabilities
from flows.config import TrainConfig
from flows.reporting import run_figures
from flows.running import train


class Recorder:
    """A recorder that keeps metrics and tags."""

    def __init__(self, folder) -> None:
        self.folder, self.points, self.tagged = folder, {}, {}

    def metrics(self, step, values) -> None:
        self.points |= values

    def progress(self, done, value) -> None:
        pass

    def tags(self, values) -> None:
        self.tagged |= values


def trained(folder, env: str = "keyhole/TMaze-v0") -> Recorder:
    folder.mkdir()
    recorder = Recorder(folder)
    training = {"n_envs": 8, "n_steps": 4, "width": 4}
    train.run(TrainConfig(env=env, method="naive", steps=32, checkpoints=1, learner="ppo", training=training), recorder)
    return recorder


@pytest.mark.parametrize(
    ("figures", "missing"),
    [(["policy_figure"], ["policy.png"]), (["learning_curve_figure"], ["learning_curve.png"])],
)
def test_a_run_keeps_its_results_without_its_figures(figures, missing, tmp_path, monkeypatch):
    def fail(*args):
        raise AttributeError("no layout")

    for figure in figures:
        monkeypatch.setattr(f"flows.running.train.{figure}", fail)
    recorder = trained(tmp_path / "run")
    assert recorder.tagged["missing"] == f"{missing[0]} (AttributeError: no layout)"
    assert "selected/true_return/whole" in recorder.points
    files = {file.name for file in recorder.folder.iterdir()}
    assert {"agent.zip", "config.json"} <= files
    assert not files & set(missing)
    assert json.loads((recorder.folder / "config.json").read_text())["method"] == "naive"


def test_a_complete_run_has_no_tag_for_missing_files(tmp_path):
    recorder = trained(tmp_path / "run")
    assert "missing" not in recorder.tagged
    assert (recorder.folder / "learning_curve.png").exists()


def test_a_foreign_environment_without_a_layout_has_results_and_no_picture_of_its_policy(tmp_path):
    recorder = trained(tmp_path / "run", "tests.flows.foreign:foreign/Bandit-v0")
    assert "missing" not in recorder.tagged
    assert not (recorder.folder / "policy.png").exists()
    assert "selected/true_return/whole" in recorder.points


NETWORKS = {
    ("single", 1): ["whole"],
    ("gated", 2): ["whole", "retain alone", "forget alone"],
    ("gated", 3): ["whole", "retain alone", "forget alone", "forget2 alone"],
    ("ungated", 3): ["whole", "retain alone", "forget alone", "forget2 alone"],
    ("adapters", 2): ["whole", "retain alone", "forget alone"],
}


@pytest.mark.parametrize(("network", "experts"), NETWORKS)
def test_the_policy_is_drawn_as_a_whole_and_each_of_several_experts_alone(network, experts, tmp_path):
    world = gymnasium.make_vec("keyhole/TMaze-v0", num_envs=1)
    level = "parameter" if network == "adapters" else "activation"
    spaces = world.single_observation_space, world.single_action_space
    kwargs = {"network": network, "experts": experts, "level": level, "net_arch": {"pi": [4], "vf": [4]}}
    policy = BlockPolicy(*spaces, lambda progress: 0.0, **kwargs)
    for parameter in policy.parameters():
        torch.nn.init.normal_(parameter)
    uses = run_figures.uses_of(policy)
    assert list(uses) == NETWORKS[network, experts]
    layouts = np.stack([world.layout(state) for state in run_figures.start_states(world, 2)])
    real = (layouts >= 0).all(-1)
    gate, probabilities = run_figures.evaluate_policy(policy, world, layouts, list(uses.values()))
    observations = torch.as_tensor(world.observation(layouts[real]))
    alone = [tuple(row) for row in np.eye(experts).tolist()]
    for scales, found in zip([None, *alone], probabilities, strict=experts > 1):
        with policy.deployed(scales):
            np.testing.assert_array_equal(found[real], action_probabilities(policy, observations).numpy())
    if network != "gated":
        np.testing.assert_allclose(gate[real], 1 / experts if network == "ungated" else 1)
    assert run_figures.policy_figure(policy, world, "title", tmp_path / "policy.png", starts=2)
    with Image.open(tmp_path / "policy.png") as picture:
        assert picture.height > 50 * len(uses)
