"""Memory of a training process, and of a world's tables

The most that one process of the pool held at any moment of a run, as the kernel counts it, libraries included; and
what it holds when it has imported them and done nothing. Tables are told as a multiple of a process without a run.
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import gymnasium
import numpy as np

import envs
from benchmarks.harness.figures import Figure
from benchmarks.harness.paired import Effort, Spread
from benchmarks.learners import WORLD
from flows.config import TrainConfig
from flows.running.pool import Pool, ProcessWorker
from flows.running.train import run
from flows.running.worker import TRAIN, Forwarder, Send

UNIT = "times the memory of a process that has only imported"


def measure(effort: Effort) -> Iterator[Figure]:
    """Of processes that train, one each, and of the tables of grids."""
    idle = [peak("benchmarks.memory:nothing") for _ in range(min(effort.rounds, 3))]
    base = Spread.of(idle).median
    for learner in ("reinforce", "ppo"):
        config = TrainConfig.model_validate({"learner": learner, "steps": 100_000, "checkpoints": 2})
        peaks = Spread.of(peak("benchmarks.memory:training", config) for _ in idle)
        share = Spread(*(held / base for held in peaks))
        yield Figure(f"a run of {learner}", share, len(idle), absolute=peaks.median, absolute_unit="MB at most")
    for size in (5, 7) if effort.whole else (5,):
        tables = envs.compile_world(gymnasium.make_vec(WORLD, num_envs=1, size=size))
        held = sum(column.nbytes for column in tables if type(column) is np.ndarray) / 1e6
        share = Spread.of([held / base])
        yield Figure(f"tables, {size} x {size}", share, 1, absolute=held, absolute_unit="MB")


def peak(job: str, *arguments: object) -> float:
    """MB that a fresh process held at most while it did one job."""
    with Pool(1, partial(ProcessWorker, [TRAIN])) as pool:
        return pool.do(job, *arguments)


def nothing(say: Send) -> float:
    """A job: the libraries are there."""
    return _most_held()


def training(config: TrainConfig, say: Send) -> float:
    """A job: a run that nobody records."""
    with TemporaryDirectory() as folder:
        run(config, Forwarder(Path(folder), lambda kind, *payload: None))
    return _most_held()


def _most_held() -> float:
    """MB, by this process's own high-water mark; that of `getrusage` begins with its parent's."""
    status = dict(row.split(":", 1) for row in Path("/proc/self/status").read_text().splitlines())
    return int(status["VmHWM"].split()[0]) / 1e3  # kB
