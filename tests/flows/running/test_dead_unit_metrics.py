"""A run records the share of dead units of each block, and `keyhole train` names experts that are dead."""

import pytest

from flows.config import TrainConfig
from flows.running import train

TINY = {"n_envs": 8, "n_steps": 4, "width": 1}  # a ReLU unit alone is dead at the start for some seeds


class Recorder:
    """Keeps metrics."""

    def __init__(self, folder) -> None:
        self.folder, self.points = folder, {}
        folder.mkdir()

    def metrics(self, step, values) -> None:
        self.points |= values

    def progress(self, done, value) -> None:
        pass

    def tags(self, values) -> None:
        pass


@pytest.mark.parametrize(("activation", "dead"), [("relu", {0.0, 1.0}), ("tanh", {0.0})])
def test_dead_units_are_metrics_of_a_run(activation, dead, tmp_path):
    found = set()
    for seed in range(4):
        recorder = Recorder(tmp_path / str(seed))
        settings = {"steps": 32, "checkpoints": 1, "training": TINY | {"activation": activation}}
        train.run(TrainConfig(env="keyhole/TMaze-v0", method="oracle", seed=seed, **settings), recorder)
        found |= {value for name, value in recorder.points.items() if name.startswith("dead_units/")}
    assert found == dead
