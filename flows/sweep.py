"""What the runs of one sweep share: the store, the sweep's own run, threads, processes, a display.

Apart from the flow, because Prefect sends a flow's functions to other processes by value, with all they refer to.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import datetime
from functools import partial
from typing import Any, NamedTuple

from prefect.runtime import deployment
from prefect.task_runners import ThreadPoolTaskRunner

from flows import job
from flows.config import CompareConfig, TrainConfig
from flows.pool import Pool, StoppedError
from flows.progress import Progress, progress, title
from flows.project import here, only_sweep, writable
from flows.provenance import facts, run_tags
from flows.tracking import RunRecorder, Store


class Sweep(NamedTuple):
    """An open sweep."""

    store: Store
    record: RunRecorder
    threads: ThreadPoolTaskRunner[Any]
    pool: Pool
    progress: Progress

    def attempt(self, config: TrainConfig, number: int) -> str:
        """Trains in a process of the pool, as an MLflow run below the sweep's; its run id."""
        self.pool.check()  # a thread may be free for the next run while a sweep is being stopped
        with self.store.run(
            title(config),
            facts(config),
            {**run_tags(config), "attempt": str(number)},
            parent=self.record.run_id,
            watch=partial(self.progress.moved, config),
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


def current() -> Sweep:
    """The sweep that this flow or task belongs to."""
    return _current.get()


@contextmanager
def opened(config: CompareConfig) -> Iterator[Sweep]:
    """Locks the store, closes what dead processes left in it, and starts the sweep; ends it whatever happens."""
    project, runs = here(), config.runs()
    writable(project)
    store = Store(project)
    with (
        only_sweep(project, wait=deployment.id is not None),  # nobody waits in front of a scheduled one
        Pool(min(config.workers, len(runs)), warm=[job.TRAIN]) as pool,  # they import while the store opens
        ThreadPoolTaskRunner[Any](max_workers=config.workers) as threads,
        store.run(sweep_name(config), facts(config), {"kind": "sweep"}) as record,
        progress(runs) as display,
    ):
        store.reap()
        token = _current.set(Sweep(store, record, threads, pool, display))
        try:
            yield current()
        finally:
            pool.stop()  # first of all, for the threads wait for its processes
            _current.reset(token)


def sweep_name(config: CompareConfig) -> str:
    """What the user calls it, else the environment and the time."""
    return config.name or f"{config.env.rpartition('/')[2]}-{datetime.now():%Y%m%d-%H%M%S}"
