"""What the runs of one sweep share: the store, the sweep's own run, threads, processes, a display.

Apart from the flow, because Prefect sends a flow's functions to other processes by value, with all they refer to.
"""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import datetime
from functools import partial
from typing import Any, NamedTuple

from prefect.runtime import deployment
from prefect.task_runners import ThreadPoolTaskRunner

from flows.config import CompareConfig, TrainConfig, run_title
from flows.errors import StoppedError
from flows.project import current_project
from flows.running import worker
from flows.running.pool import Pool
from flows.running.runners import open_pool
from flows.sweep.lock import only_sweep
from flows.sweep.plan import REUSE_TAG, Plan, PlannedRun, RunOptions, make_plan
from flows.sweep.progress import Progress, open_display
from flows.tracking.access import check_writable
from flows.tracking.cache_key import CACHE_KEY, code_digest
from flows.tracking.provenance import run_params, run_tags
from flows.tracking.recorder import RunRecorder
from flows.tracking.reuse import copy_run, find_equal_run
from flows.tracking.store import CONFIG, Store

EXTRA_THREADS = (
    1  # run that is opened, and waits for a process, while another's books are closed: no process waits for them
)


class Sweep(NamedTuple):
    """An open sweep."""

    store: Store
    record: RunRecorder
    threads: ThreadPoolTaskRunner[Any]
    pool: Pool
    progress: Progress
    plan: Plan
    planned: dict[str, PlannedRun]  # title of a run -> what is to be done of it
    run_ids: dict[str, str]  # title of a run -> id of its MLflow run
    reused: set[str]  # titles of the runs that were copied

    def todo(self, config: TrainConfig) -> PlannedRun:
        """What is to be done of that run."""
        return self.planned[run_title(config)]

    def run(self, todo: PlannedRun) -> str:
        """The run in an MLflow run below the sweep's: what a finished twin has recorded, or else training; its id."""
        self.pool.check()  # a thread may be free for the next run while a sweep is being stopped
        original = find_equal_run(self.store, todo.key) if todo.reuse and not todo.resume_id else None
        with self.store.run(
            run_title(todo.config),
            {} if original else run_params(todo.config),
            {**run_tags(todo.config), CACHE_KEY: todo.key, "attempt": str(todo.attempt)},
            parent=self.record.run_id,
            on_progress=partial(self.progress.moved, todo.config),
            resume_id=todo.resume_id,
        ) as record:
            self.run_ids[run_title(todo.config)] = record.run_id
            if original:
                copy_run(self.store, original, record)
                self.reused.add(run_title(todo.config))
            else:
                self.pool.do(
                    "flows.running.worker:run_training",
                    worker.TRAIN,
                    todo.config,
                    record.folder,
                    heard=record.handle_message,
                )
        return record.run_id

    def retry(self, todo: PlannedRun) -> str:
        """The same run again, from where its last state was kept."""
        return self.run(todo._replace(resume_id=self.run_ids[run_title(todo.config)], attempt=todo.attempt + 1))

    @contextmanager
    def display(self, config: TrainConfig) -> Iterator[None]:
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
        self.progress.ended(config, "reused" if run_title(config) in self.reused else "finished")


_current: ContextVar[Sweep] = ContextVar("sweep")


def current_sweep() -> Sweep:
    """The sweep that this flow or task belongs to."""
    return _current.get()


@contextmanager
def open_sweep(config: CompareConfig, wish: RunOptions) -> Iterator[Sweep]:
    """Locks the store, closes what dead processes left in it, and starts the sweep; ends it whatever happens."""
    project = current_project()
    check_writable(project)
    scheduled = deployment.id is not None
    if scheduled:
        _interrupt_once()
    store = Store(project)
    with (
        only_sweep(project, wait=scheduled),
        open_pool(config) as pool,  # processes import while the store opens
        ThreadPoolTaskRunner[Any](max_workers=config.workers + EXTRA_THREADS) as threads,
    ):
        store.close_abandoned_runs()
        made = make_plan(store, config, wish, code_digest(config.env, worker.TRAIN))
        tags = {"kind": "sweep", CONFIG: config.model_dump_json(), REUSE_TAG: str(wish.reuse)}
        with (
            store.run(sweep_name(config), run_params(config), tags, resume_id=wish.resume) as record,
            open_display([todo.config for todo in made.todo]) as display,
            _set(
                Sweep(
                    store,
                    record,
                    threads,
                    pool,
                    display,
                    made,
                    {run_title(todo.config): todo for todo in made.todo},
                    {},
                    set(),
                )
            ),
        ):
            yield current_sweep()


@contextmanager
def _set(sweep: Sweep) -> Iterator[None]:
    """The sweep is the current one; at the end its processes stop, first of all, for its threads wait for them."""
    token = _current.set(sweep)
    try:
        yield
    finally:
        sweep.pool.stop()
        _current.reset(token)


def _interrupt_once() -> None:
    """Ctrl-C reaches the whole group, and whoever serves the flow sends SIGTERM, perhaps twice: one of them is heard.

    The next one would cut short the closing of the runs.
    """

    def heard(number: int, frame: object) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise KeyboardInterrupt

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, heard)


def sweep_name(config: CompareConfig) -> str:
    """What the user calls it, else the environment and the time."""
    return config.name or f"{config.env.rpartition('/')[2]}-{datetime.now():%Y%m%d-%H%M%S}"
