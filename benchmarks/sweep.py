"""A sweep with two processes against one, and what a run costs beside training

The first figure is of one process: a whole run (training, evaluations, pictures, files, no MLflow) against its
training alone. Sweeps are the command `keyhole compare` itself, in a store and a Prefect of their own that are thrown
away; Prefect's server runs throughout. "While it trains" is from the start of the first run to the end of the last,
as MLflow has them; the whole command adds imports, the opening of the store, the certificate and the report.
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
from benchmarks.harness.paired import Effort, Spread, cpu_seconds, paired
from flows.config import TrainConfig
from flows.prefect_server.server import Server
from flows.project import MLRUNS, Project
from flows.running.train import run
from flows.running.worker import Forwarder
from flows.tracking.store import Store

UNIT = "times as many, or as much"
STEPS, CHECKPOINTS = 200_000, 5
SAID = ["--methods", "gradient_routing,filtering", "--oversight", "0.1", "--force"]  # equal runs are done again


class Sweep(NamedTuple):
    """What one sweep took."""

    training: float  # runs a minute while it trains
    whole: float  # runs a minute of the whole command
    cpu: float  # CPU-seconds a run, of all its processes


def measure(effort: Effort) -> Iterator[Figure]:
    """The overhead of a run, then throughput."""
    alone = paired(training, whole_run, min(effort.rounds, 3), 0)
    yield Figure("CPU of a whole run / of its training", *alone[::3], alone.wall, 1 / alone.speed, "CPU-s of training")
    if effort.whole:
        yield from throughput()


def throughput(seeds: int = 3, rounds: int = 2) -> Iterator[Figure]:
    """Sweeps with one process and with two, in turn."""
    with TemporaryDirectory() as folder, patch.dict(os.environ, _apart(Path(folder))):
        server = Server(Path(folder))
        server.start()
        server.wait()
        try:
            store()  # its first opening makes its tables
            table = [(sweep(1, seeds), sweep(2, seeds)) for _ in range(rounds)]
        finally:
            server.leave()
    for i, name in enumerate(("while it trains", "of the whole command")):
        ratio = Spread.of(two[i] / one[i] for one, two in table)
        fastest = Spread.of(two[i] for _, two in table).median
        yield Figure(f"runs a minute, 2 processes / 1, {name}", ratio, rounds, ratio, fastest, "runs/min with 2")
    ratio = Spread.of(two.cpu / one.cpu for one, two in table)
    cpu = Spread.of(two.cpu for _, two in table).median
    yield Figure("CPU-seconds a run, 2 processes / 1", ratio, rounds, absolute=cpu, absolute_unit="CPU-s with 2")


def _apart(folder: Path) -> dict[str, str]:
    return {"PREFECT_HOME": str(folder), MLRUNS: str(folder / "mlruns"), "PREFECT_API_URL": ""}


def sweep(workers: int, seeds: int) -> Sweep:
    """One sweep of two methods."""
    began, start, cpu = time.time(), time.perf_counter(), cpu_seconds()
    said = {"--steps": STEPS, "--checkpoints": CHECKPOINTS, "--workers": workers, "--seeds": seeds}
    words = [str(word) for pair in said.items() for word in pair]
    subprocess.run([sys.executable, "-m", "flows", "compare", *SAID, *words], check=True, stdout=subprocess.DEVNULL)
    minutes, cpu = (time.perf_counter() - start) / 60, cpu_seconds() - cpu
    query, kept = f"tags.kind = 'run' and attributes.start_time >= {int(began * 1000)}", store()
    runs = [found.info for found in kept.client.search_runs([kept.experiment], query)]
    trained = (max(one.end_time for one in runs) - min(one.start_time for one in runs)) / 60_000
    return Sweep(len(runs) / trained, len(runs) / minutes, cpu / len(runs))


def store() -> Store:
    """Where the sweeps are kept, opened."""
    mlruns = Path(os.environ[MLRUNS])
    opened = Store(Project(mlruns.parent, mlruns))
    assert opened.experiment
    return opened


CONFIG = TrainConfig(steps=STEPS, checkpoints=CHECKPOINTS)


def whole_run() -> float:
    """All that a process of a sweep does for a run."""
    with TemporaryDirectory() as folder:
        run(CONFIG, Forwarder(Path(folder), lambda kind, *payload: None))
    return 1


def training() -> float:
    """Its training alone."""
    settings = CONFIG.training.model_dump()
    env = agents.make_vec_env(CONFIG.env, settings.pop("n_envs"), oversight_prob=CONFIG.oversight)
    agents.build(env, CONFIG.method, CONFIG.seed, algorithm=CONFIG.learner, **settings).learn(CONFIG.steps)
    return 1
