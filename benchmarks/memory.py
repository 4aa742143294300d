"""Memory of a training process and of a world's tables.

The figure of a run is the peak resident memory of one worker process of the pool, as the kernel counts it, libraries
included. It is divided by the peak of a process that has imported the libraries and done nothing else. The size of the
tables is divided by the same number.
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

UNIT = "memory relative to a process that has only imported"


def measure(effort: Effort) -> Iterator[Figure]:
    """Measure one fresh process per training run, and the tables of the grids."""
    idle = [peak_memory("benchmarks.memory:idle_job") for _ in range(min(effort.rounds, 3))]
    base = Spread.of(idle).median
    for learner in ("reinforce", "ppo"):
        config = TrainConfig.model_validate({"learner": learner, "steps": 100_000, "checkpoints": 2})
        peaks = Spread.of(peak_memory("benchmarks.memory:training_job", config) for _ in idle)
        ratio = Spread(*(peak / base for peak in peaks))
        yield Figure(f"a run of {learner}", ratio, len(idle), absolute=peaks.median, absolute_unit="MB at most")
    for size in (5, 7) if effort.full else (5,):
        tables = envs.compile_world(gymnasium.make_vec(WORLD, num_envs=1, size=size))
        megabytes = sum(column.nbytes for column in tables if type(column) is np.ndarray) / 1e6
        ratio = Spread.of([megabytes / base])
        yield Figure(f"tables, {size} x {size}", ratio, 1, absolute=megabytes, absolute_unit="MB")


def peak_memory(job: str, *arguments: object) -> float:
    """Run a job in a fresh worker process and return that process's peak memory in MB."""
    with Pool(1, partial(ProcessWorker, [TRAIN])) as pool:
        return pool.do(job, *arguments)


def idle_job(send: Send) -> float:
    """A job that does nothing; returns the peak memory of its process in MB."""
    return _own_peak()


def training_job(config: TrainConfig, send: Send) -> float:
    """A job that trains and discards its metrics and files; returns the peak memory of its process in MB."""
    with TemporaryDirectory() as folder:
        run(config, Forwarder(Path(folder), lambda kind, *payload: None))
    return _own_peak()


def _own_peak() -> float:
    """MB, from VmHWM: `getrusage` would start from the parent's maximum."""
    status = dict(row.split(":", 1) for row in Path("/proc/self/status").read_text().splitlines())
    return int(status["VmHWM"].split()[0]) / 1e3  # kB
