"""A run with fine-tuning: what it records, that it can be interrupted in it, and that nothing else changes by it."""

from pathlib import Path

import pytest

import agents
from flows.config import CompareConfig, TrainConfig
from flows.running import train
from flows.tracking import cache_key

SMALL = {"n_envs": 16, "n_steps": 8, "width": 8}
RUN = TrainConfig(
    env="keyhole/DiamondGhost-v0",
    env_kwargs={"size": 3},
    method="gradient_routing",
    oversight=0.3,
    steps=512,
    checkpoints=2,
    training=SMALL,
)


class Killed(BaseException):
    """Stands for the death of the process."""


class Recorder:
    """Keeps metrics; dies at a number of relearning points."""

    def __init__(self, folder: Path, dies_after: int = -1) -> None:
        self.folder, self.left, self.points = folder, dies_after, {}

    def metrics(self, step, values) -> None:
        if "relearning/true_return" in values:
            if not self.left:
                raise Killed
            self.left -= 1
        self.points.update({(name, int(step)): float(value) for name, value in values.items()})

    def progress(self, done, value) -> None: ...
    def tags(self, values) -> None: ...


def trained(folder: Path, relearn_updates: int = 0, dies_after: int = -1) -> Recorder:
    folder.mkdir(exist_ok=True)
    recorder = Recorder(folder, dies_after)
    train.run(RUN.model_copy(update={"relearn_updates": relearn_updates}), recorder)
    return recorder


@pytest.fixture(scope="module")
def plain(tmp_path_factory) -> Recorder:
    return trained(tmp_path_factory.mktemp("plain"))


@pytest.fixture(scope="module")
def relearned(tmp_path_factory) -> Recorder:
    return trained(tmp_path_factory.mktemp("relearned"), relearn_updates=4)


def test_bad_acts_and_return_are_recorded_from_the_deployed_policy_on(relearned):
    for name in ("bad_acts", "true_return"):
        points = {step: value for (metric, step), value in relearned.points.items() if metric == f"relearning/{name}"}
        assert list(points) == [0, 1, 2, 3, 4]
        (deployed,) = [v for (metric, _), v in relearned.points.items() if metric == f"selected/{name}/retain"]
        assert points[0] == pytest.approx(deployed, abs=1e-6)
        assert points[4] != points[0]


def test_nothing_else_changes_by_it(plain, relearned):
    assert plain.points == {key: v for key, v in relearned.points.items() if not key[0].startswith("relearning/")}
    states = [agents.load(recorder.folder / "agent.zip").policy.state_dict() for recorder in (plain, relearned)]
    assert all((states[0][name] == states[1][name]).all() for name in states[0])


def test_a_run_that_dies_in_it_continues_with_equal_numbers(relearned, tmp_path):
    with pytest.raises(Killed):
        trained(tmp_path / "run", relearn_updates=4, dies_after=2)
    assert (tmp_path / "run" / train.STATE).exists()
    assert trained(tmp_path / "run", relearn_updates=4).points == relearned.points
    assert not (tmp_path / "run" / train.STATE).exists()


def test_runs_without_it_keep_their_cache_key_and_their_state():
    assert "relearn" not in RUN.model_dump_json()
    assert cache_key.run_key(RUN, "code") != cache_key.run_key(RUN.model_copy(update={"relearn_updates": 1}), "code")
    assert "label_price" not in CompareConfig().model_dump_json()


def test_the_price_of_a_label_retrains_nothing():
    runs = [CompareConfig(label_price=price).runs() for price in (0.0, 0.5)]
    assert runs[0] == runs[1]


def test_a_run_with_forget_experts_has_absorption(plain):
    assert {metric for metric, _ in plain.points if metric.startswith("absorption/")} == {
        "absorption/unlabelled_bad_share",
        "absorption/gradient_share",
        "absorption/ablation_effect",
        "absorption/random_ablation_effect",
    }
