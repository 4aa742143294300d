"""The resources that the runs of a sweep share: store, parent run, threads, worker pool, display and plan.

Separate from the flow, because Prefect pickles a flow's functions by value, with everything they refer to.
"""

import re
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from typing import Any, NamedTuple

from prefect.runtime import deployment
from prefect.task_runners import ThreadPoolTaskRunner

from flows.config import RunOptions
from flows.errors import StoppedError
from flows.project import current_project
from flows.running import worker
from flows.running.pool import Pool
from flows.running.runners import open_pool
from flows.study_config import AnyRun, Experiment
from flows.sweep.lock import sweep_lock
from flows.sweep.plan import REUSE_TAG, Plan, PlannedRun, make_plan
from flows.sweep.progress import Progress, open_display
from flows.tracking.access import check_writable
from flows.tracking.cache_key import CACHE_KEY, not_reusable_tags
from flows.tracking.provenance import run_params
from flows.tracking.recorder import RunRecorder
from flows.tracking.reuse import copy_run, find_equal_run
from flows.tracking.store import CONFIG, Store
from flows.user_code import module_digests

# The next MLflow run is created while the previous one is finalised, so that no worker idles.
EXTRA_THREADS = 1


class Sweep(NamedTuple):
    """An open sweep."""

    store: Store
    record: RunRecorder
    threads: ThreadPoolTaskRunner[Any]
    pool: Pool
    progress: Progress
    plan: Plan
    planned: dict[str, PlannedRun]  # by title of the run
    run_ids: dict[str, str]  # MLflow run ids, by title of the run
    reused: set[str]  # titles of the runs that were copied
    modules: Mapping[str, str]  # digests of the user modules that the cache keys cover, by name
    outcomes: dict[str, BaseException | None]  # of the jobs that have ended; None for success
    trainer: str  # training function of its runs

    def todo(self, config: AnyRun) -> PlannedRun:
        """Returns the plan of a run."""
        return self.planned[config.title]

    def run(self, todo: PlannedRun) -> str:
        """Copies the results of an equal finished run, or trains the run. Returns the id of its MLflow run.

        Raises:
            FailedJobError: Training raised an exception.
            DeadWorkerError: The worker process died.
            StoppedError: The sweep was stopped.
        """
        self.pool.check()  # while a sweep is being stopped, a thread may still take the next run
        original = find_equal_run(self.store, todo.key) if todo.reuse and not todo.resume_id else None
        with self.store.run(
            todo.config.title,
            {} if original else run_params(todo.config),
            {**todo.config.tags, CACHE_KEY: todo.key, "attempt": str(todo.attempt)},
            parent=self.record.run_id,
            on_progress=partial(self.progress.moved, todo.config),
            resume_id=todo.resume_id,
        ) as record:
            self.run_ids[todo.config.title] = record.run_id
            if original:
                copy_run(self.store, original, record)
                self.reused.add(todo.config.title)
            else:
                self.pool.do(
                    "flows.running.worker:run_training",
                    self.trainer,
                    todo.config,
                    record.folder,
                    on_message=partial(self._handle, record),
                )
        return record.run_id

    def _handle(self, record: RunRecorder, kind: str, payload: tuple) -> None:
        """Writes a message of a worker to the run's record."""
        if kind == worker.MODULES:
            record.tags(not_reusable_tags(self.modules, *payload))
        else:
            record.handle_message(kind, payload)

    def retry(self, todo: PlannedRun) -> str:
        """Resumes a run from its last saved state. Returns the id of its MLflow run."""
        return self.run(todo._replace(resume_id=self.run_ids[todo.config.title], attempt=todo.attempt + 1))

    @contextmanager
    def display(self, config: AnyRun) -> Iterator[None]:
        """Shows a run and its outcome on the display."""
        self.progress.began(config)
        try:
            yield
        except StoppedError:
            self.progress.ended(config, "stopped")
            raise
        except BaseException as error:
            self.progress.ended(config, f"failed: {error}")
            raise
        self.progress.ended(config, "reused" if config.title in self.reused else "finished")


@contextmanager
def locked_store() -> Iterator[Store]:
    """Locks the store for one sweep, closes runs of dead processes and yields the store.

    A scheduled sweep waits for the lock.

    Raises:
        UserError: The store cannot be written, or another sweep has locked it.
    """
    project = current_project()
    check_writable(project)
    scheduled = deployment.id is not None
    if scheduled:
        _interrupt_once()
    with sweep_lock(project, wait=scheduled):
        store = Store(project)
        store.close_abandoned_runs()
        yield store


@contextmanager
def open_sweep(store: Store, config: Experiment, options: RunOptions, digest: str) -> Iterator[Sweep]:
    """Opens the workers and starts the sweep's parent run.

    Args:
        store: The store, locked.
        config: The sweep.
        options: What to resume, repeat or reuse.
        digest: Digest of the code, from `cache_key.code_digest`.
    """
    with (
        open_pool(config) as pool,  # workers import their libraries while the sweep is planned
        ThreadPoolTaskRunner[Any](max_workers=config.workers + EXTRA_THREADS) as threads,
    ):
        tags = {
            "kind": config.kind,
            CONFIG: config.model_dump_json(),
            REUSE_TAG: str(options.reuse and not options.force),
        }
        with store.run(sweep_name(config), run_params(config), tags, resume_id=options.resume) as record:
            # planned once this process owns the sweep, since another one may have added runs until then
            plan = make_plan(store, config, options, digest)
            planned = {todo.config.title: todo for todo in plan.todo}
            with open_display([todo.config for todo in plan.todo]) as display:
                try:
                    yield Sweep(
                        store, record, threads, pool, display, plan, planned, {}, set(), module_digests(), {},
                        worker.trainer(config.kind),
                    )  # fmt: skip
                finally:
                    pool.stop()  # before anything else closes: threads wait for its jobs


def _interrupt_once() -> None:
    """Handles the first SIGTERM as Ctrl-C, and ignores SIGINT and later SIGTERMs.

    Ctrl-C reaches the whole process group, and the process that serves the flow may send SIGTERM twice. A second signal
    would interrupt the closing of the runs.
    """

    def interrupt(number: int, frame: object) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise KeyboardInterrupt

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, interrupt)


def sweep_name(config: Experiment) -> str:
    """The configured name, or else the environment or study and the time."""
    return config.name or f"{re.split('[:/]', config.subject)[-1]}-{datetime.now():%Y%m%d-%H%M%S}"
