"""What the jobs of a worker process return."""

import pytest

from flows.config import TrainConfig
from flows.running.worker import compute_certificate


@pytest.mark.parametrize("memory", ["frames(3)", "lstm(4)"])
def test_the_certificate_of_a_world_does_not_depend_on_what_its_agents_remember(memory):
    world = {"env": "envs:keyhole/TMaze-v0", "env_kwargs": {"length": 2}, "oversight": 0.5}
    plain, remembering = (
        compute_certificate(TrainConfig(**world, memory=each), lambda *message: None) for each in ("none", memory)
    )
    assert remembering == plain
    assert plain
