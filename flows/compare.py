"""The main job: every oversight method at every oversight level with every seed, then the picture.

Prefect keeps the history and the threads; the training happens in processes, for a learner owns its process's
global random generators. A run that fails does not end the sweep, and is named at its end.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import datetime
from typing import Any, NamedTuple

from prefect import flow, get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.futures import wait
from prefect.task_runners import ThreadPoolTaskRunner

from flows import job, report
from flows.checks import check_sweep
from flows.config import CompareConfig, TrainConfig
from flows.pool import DeadWorkerError, Pool, StoppedError
from flows.progress import Progress, progress, title
from flows.project import here, only_sweep, writable
from flows.provenance import facts, run_tags
from flows.tracking import RunRecorder, Store

DEFAULTS = CompareConfig()


class FailedRunsError(RuntimeError):
    """Some runs of a sweep failed; the others, and the report of them, are kept."""

    def __init__(self, sweep: str, failed: list[str], runs: int) -> None:
        super().__init__(f"{len(failed)} of {runs} runs failed: {', '.join(failed)}")
        self.sweep = sweep


class Sweep(NamedTuple):
    """What the runs of one sweep share."""

    store: Store
    record: RunRecorder
    threads: ThreadPoolTaskRunner[Any]
    pool: Pool
    progress: Progress

    def attempt(self, config: TrainConfig, number: int) -> str:
        """Trains in a process of the pool, as an MLflow run below the sweep's; its run id."""
        with self.store.run(
            title(config),
            facts(config),
            {**run_tags(config), "attempt": str(number)},
            parent=self.record.run_id,
            watch=lambda done, value: self.progress.moved(config, done, value),
        ) as record:
            self.pool.do("flows.job:train", job.TRAIN, config, record.folder, heard=record.hear)
        return record.run_id

    @contextmanager
    def shown(self, config: TrainConfig) -> Iterator[None]:
        """The run is on display, and so is what becomes of it."""
        self.progress.began(config)
        try:
            yield
        except StoppedError:
            self.progress.ended(config, "stopped")
            raise
        except BaseException as error:
            self.progress.ended(config, f"failed: {error}")
            raise
        self.progress.ended(config, "finished")


_current: ContextVar[Sweep] = ContextVar("sweep")


@flow(name="compare", flow_run_name=lambda: f"compare {datetime.now():%d %b %H:%M:%S}")
def compare(config: CompareConfig = DEFAULTS) -> str:
    """How much true return each method keeps as oversight gets scarcer; the sweep's MLflow run id."""
    check_sweep(config)
    runs = config.runs()
    with opened(config) as sweep:
        optimum = sweep.threads.submit(reference, {"config": runs[0]})
        trained = [sweep.threads.submit(train, {"config": run}) for run in runs]
        wait([optimum, *trained])
        report.write(sweep.store, sweep.record.run_id)
        failed = [title(run) for run, future in zip(runs, trained, strict=True) if not future.state.is_completed()]
        if failed:
            raise FailedRunsError(sweep.record.run_id, failed, len(runs))
    return sweep.record.run_id


@task(task_run_name="{config.method} p={config.oversight} seed={config.seed}", cache_policy=NO_CACHE)
def train(config: TrainConfig) -> str:
    """One run; once more if its process dies, for that is the machine's doing. Its MLflow run id."""
    sweep = _current.get()
    with sweep.shown(config):
        try:
            run_id = sweep.attempt(config, 1)
        except DeadWorkerError as death:
            get_run_logger().warning("%s; trying once more", death)
            run_id = sweep.attempt(config, 2)
    get_run_logger().info("MLflow run %s", run_id)
    return run_id


@task(cache_policy=NO_CACHE)
def reference(config: TrainConfig) -> dict[str, float]:
    """What the best policy of this world reaches, where that can be computed; kept with the sweep."""
    sweep = _current.get()
    values = sweep.pool.do("flows.job:reference", config)
    sweep.record.metrics(0, values)
    return values


@contextmanager
def opened(config: CompareConfig) -> Iterator[Sweep]:
    """The store, locked, without dead runs; the sweep's own MLflow run; threads, processes, a display."""
    project, runs = here(), config.runs()
    writable(project)
    store = Store(project)
    with (
        only_sweep(project),
        Pool(min(config.workers, len(runs)), warm=[job.TRAIN]) as pool,  # they import while the store opens
        ThreadPoolTaskRunner[Any](max_workers=config.workers) as threads,
        store.run(sweep_name(config), facts(config), {"kind": "sweep"}) as record,
        progress(runs) as display,
    ):
        store.reap()
        token = _current.set(Sweep(store, record, threads, pool, display))
        try:
            yield _current.get()
        finally:
            pool.stop()  # first of all, for the threads wait for its processes
            _current.reset(token)


def sweep_name(config: CompareConfig) -> str:
    """What the user calls it, else the environment and the time."""
    return config.name or f"{config.env.rpartition('/')[2]}-{datetime.now():%Y%m%d-%H%M%S}"
