"""A run's numbers follow from its settings: not from its process's past, so neither from how many workers there are."""

from pathlib import Path

import pytest

from flows.config import TrainConfig
from flows.running import train


class Notes:
    """A recorder that remembers."""

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
    notes = Notes(folder)
    train.run(config, notes)
    return notes.points


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
    "wanted",
    [
        config("reinforce", "gradient_routing", 1),
        config("reinforce", "reward_model", 1, precision="bf16"),
        config("reinforce", "filtering", 1, whole_episodes=False),
        config("ppo", "gradient_routing", 1),
    ],
    ids=lambda config: f"{config.learner}-{config.method}",
)
def test_a_run_after_others_in_its_process_has_the_numbers_of_one_alone(wanted, tmp_path):
    alone = numbers(wanted, tmp_path / "alone")
    numbers(config("ppo", "naive", 5), tmp_path / "another")
    numbers(config("reinforce", "oracle", 6), tmp_path / "a third")
    after = numbers(wanted, tmp_path / "after")
    assert repr(after) == repr(alone)  # nan is like itself
    other = numbers(wanted.model_copy(update={"seed": 2}), tmp_path / "seed")
    assert repr(other) != repr(alone)
