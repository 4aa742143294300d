"""A figure that cannot be drawn is missing from the run, and nothing else is."""

import json

import pytest

from flows.config import TrainConfig
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


def test_a_foreign_environment_without_a_layout_keeps_its_results(tmp_path):
    recorder = trained(tmp_path / "run", "tests.flows.foreign:foreign/Bandit-v0")
    assert recorder.tagged["missing"].startswith("policy.png (AttributeError: ")
    assert "selected/true_return/whole" in recorder.points
