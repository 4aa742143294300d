"""A run's numbers depend only on its settings, not on earlier runs of its process or the number of workers."""

from pathlib import Path

import pytest

from flows.config import TrainConfig
from flows.running import train


class MemoryRecorder:
    """A recorder that keeps its metrics."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.points: list[tuple[int, dict[str, float]]] = []
        folder.mkdir()

    def metrics(self, step, values) -> None:
        self.points.append((step, dict(values)))

    def progress(self, done, value) -> None:
        pass

    def tags(self, values) -> None:
        pass


def numbers(config: TrainConfig, folder: Path) -> list:
    recorder = MemoryRecorder(folder)
    train.run(config, recorder)
    return recorder.points


def config(learner: str, method: str, seed: int, **training) -> TrainConfig:
    return TrainConfig(
        env_kwargs={"size": 3},
        method=method,
        oversight=0.4,
        seed=seed,
        steps=6_000,
        checkpoints=2,
        learner=learner,
        training={"n_envs": 64, "n_steps": 16, "width": 16, **training},
    )


@pytest.mark.parametrize(
    "run",
    [
        config("reinforce", "gradient_routing", 1),
        config("reinforce", "reward_model", 1, precision="bf16"),
        config("reinforce", "filtering", 1, whole_episodes=False),
        config("ppo", "gradient_routing", 1),
    ],
    ids=lambda config: f"{config.learner}-{config.method}",
)
def test_earlier_runs_in_its_process_do_not_change_a_runs_numbers(run, tmp_path):
    alone = numbers(run, tmp_path / "alone")
    numbers(config("ppo", "naive", 5), tmp_path / "another")
    numbers(config("reinforce", "oracle", 6), tmp_path / "a third")
    after = numbers(run, tmp_path / "after")
    assert repr(after) == repr(alone)  # repr, because nan != nan
    other = numbers(run.model_copy(update={"seed": 2}), tmp_path / "seed")
    assert repr(other) != repr(alone)
