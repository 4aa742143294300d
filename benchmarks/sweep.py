"""Two worker processes against one, and the overhead of a run.

The first figure concerns one process: the CPU time of a whole run (training, evaluations, pictures, files; no MLflow)
relative to its training alone. The others run the command `keyhole compare` with a temporary store and a temporary
Prefect home; Prefect's server runs throughout. "While training" is the time from the start of the first run to the end
of the last, as recorded in MLflow. "Whole command" adds imports, opening the store, the certificate and the report.
"""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple
from unittest.mock import patch

import agents
from benchmarks.harness.figures import Figure
from benchmarks.harness.paired import Effort, Spread, cpu_seconds, measure_ratio
from flows.config import TrainConfig
from flows.prefect_server.server import Server
from flows.project import MLRUNS, Project
from flows.running.train import run
from flows.running.worker import Forwarder
from flows.tracking.store import Store

UNIT = "ratio of the two quantities in the name"
STEPS, CHECKPOINTS = 200_000, 5
ARGUMENTS = ["--methods", "gradient_routing,filtering", "--oversight", "0.1", "--force"]  # --force: reuse no run


class SweepCost(NamedTuple):
    """Throughput and CPU time of one sweep."""

    training: float  # runs per minute while training
    whole: float  # runs per minute of the whole command
    cpu: float  # CPU-seconds per run, over all processes


def measure(effort: Effort) -> Iterator[Figure]:
    """Measure the overhead of a run, then the throughput of sweeps."""
    ratio = measure_ratio(training_alone, whole_run, min(effort.rounds, 3), 0)
    yield Figure("CPU of a whole run / of its training", *ratio[::3], ratio.wall, 1 / ratio.speed, "CPU-s of training")
    if effort.full:
        yield from compare_worker_counts()


def compare_worker_counts(seeds: int = 3, rounds: int = 2) -> Iterator[Figure]:
    """Run sweeps with one and with two worker processes in turn, and compare their costs."""
    with TemporaryDirectory() as folder, patch.dict(os.environ, _temporary_project(Path(folder))):
        server = Server(Path(folder))
        server.start()
        server.wait()
        try:
            open_benchmark_store()  # creates the database's tables
            table = [(time_compare(1, seeds), time_compare(2, seeds)) for _ in range(rounds)]
        finally:
            server.leave()
    for i, name in enumerate(("while training", "whole command")):
        ratio = Spread.of(two[i] / one[i] for one, two in table)
        throughput = Spread.of(two[i] for _, two in table).median
        yield Figure(f"runs per minute, 2 processes / 1, {name}", ratio, rounds, ratio, throughput, "runs/min with 2")
    ratio = Spread.of(two.cpu / one.cpu for one, two in table)
    cpu = Spread.of(two.cpu for _, two in table).median
    yield Figure("CPU-seconds per run, 2 processes / 1", ratio, rounds, absolute=cpu, absolute_unit="CPU-s with 2")


def _temporary_project(folder: Path) -> dict[str, str]:
    return {"PREFECT_HOME": str(folder), MLRUNS: str(folder / "mlruns"), "PREFECT_API_URL": ""}


def time_compare(workers: int, seeds: int) -> SweepCost:
    """Run `keyhole compare` on two methods and measure its cost."""
    began, start, cpu = time.time(), time.perf_counter(), cpu_seconds()
    options = {"--steps": STEPS, "--checkpoints": CHECKPOINTS, "--workers": workers, "--seeds": seeds}
    words = [str(word) for pair in options.items() for word in pair]
    command = [sys.executable, "-m", "flows", "compare", *ARGUMENTS, *words]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    minutes, cpu = (time.perf_counter() - start) / 60, cpu_seconds() - cpu
    query, store = f"tags.kind = 'run' and attributes.start_time >= {int(began * 1000)}", open_benchmark_store()
    runs = [result.info for result in store.client.search_runs([store.experiment], query)]
    training_minutes = (max(info.end_time for info in runs) - min(info.start_time for info in runs)) / 60_000
    return SweepCost(len(runs) / training_minutes, len(runs) / minutes, cpu / len(runs))


def open_benchmark_store() -> Store:
    """Open the store that the sweeps write to, and create its experiment if there is none."""
    mlruns = Path(os.environ[MLRUNS])
    store = Store(Project(mlruns.parent, mlruns))
    assert store.experiment
    return store


CONFIG = TrainConfig(steps=STEPS, checkpoints=CHECKPOINTS)


def whole_run() -> float:
    """Everything a worker process does for one run."""
    with TemporaryDirectory() as folder:
        run(CONFIG, Forwarder(Path(folder), lambda kind, *payload: None))
    return 1


def training_alone() -> float:
    """The training of the same run, without evaluations and files."""
    settings = CONFIG.training.model_dump()
    env = agents.make_vec_env(CONFIG.env, settings.pop("n_envs"), oversight_prob=CONFIG.oversight)
    agents.build(env, CONFIG.method, CONFIG.seed, algorithm=CONFIG.learner, **settings).learn(CONFIG.steps)
    return 1
