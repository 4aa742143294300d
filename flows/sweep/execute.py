"""Runs a sweep or a study: opens it, performs its jobs as Prefect tasks or without Prefect, and writes its report.

Prefect supplies the history and the threads. Training happens in worker processes, because a learner seeds the global
random generators of its process. A failed run does not end the sweep; the sweep lists it when it ends.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import wait as wait_for_threads
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from typing import Any, NamedTuple

from prefect import Task, get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.exceptions import MissingContextError
from prefect.futures import PrefectFuture, wait
from prefect.utilities.annotations import quote

from flows.config import RunOptions
from flows.errors import DeadWorkerError, UserError
from flows.prefect_server.history import record_history, without_owner_tags
from flows.prefect_server.server import is_up
from flows.reporting.report import PAGE
from flows.study_config import AnyRun, Experiment
from flows.sweep import earlier, prefect_artifacts
from flows.sweep.plan import experiment_digest
from flows.sweep.session import EXTRA_THREADS, Sweep, locked_store, open_sweep
from flows.text import markdown_code
from flows.tracking.missing import Missing
from flows.tracking.notice import notice
from flows.tracking.store import Store

LOST = "Prefect's server does not answer (see server.log in its home, by default .prefect)"


class FailedRunsError(RuntimeError):
    """Some runs of a sweep failed or were skipped. The other runs and the report are complete."""

    def __init__(self, sweep: str, failed: list[str], left: list[str], runs: int) -> None:
        super().__init__(sweep, failed, left, runs)
        self.sweep = sweep

    def __str__(self) -> str:
        _, failed, left, runs = self.args
        counts = {"failed": failed, "were left unfinished": left}
        parts = (f"{len(which)} of {runs} runs {what}: {', '.join(which)}" for what, which in counts.items() if which)
        return "; ".join(parts)


class Outcome(NamedTuple):
    """What became of the runs of a sweep."""

    sweep: str  # MLflow run id
    failed: list[str]  # titles of runs
    left: list[str]  # titles of runs that were not to be run
    runs: int
    unchanged: str = ""  # message that an earlier sweep, this one, has all runs already

    def result(self) -> str:
        """Returns the MLflow run id of the sweep; raises FailedRunsError if runs failed or were skipped."""
        if self.failed or self.left:
            raise FailedRunsError(self.sweep, self.failed, self.left, self.runs)
        return self.sweep


class Job(NamedTuple):
    """A call of `train`, or of another task with the same arguments."""

    task: Task
    config: Any
    optional: str = ""
    """what the record lacks if the job fails; empty for a run"""

    @property
    def key(self) -> str:
        return f"{self.task.name} {self.config.title}"


class Procedure(NamedTuple):
    """What is particular to sweeps, or to studies."""

    flow: Callable[[Any, RunOptions], str]
    """the Prefect flow"""
    prepare: Callable[[Sweep, Any], list[Job]]
    """the optional jobs that are performed beside the runs"""
    finish: Callable[[Sweep, Any, Missing], None]
    """writes and publishes the results; receives what is missing"""


Start = Callable[[Sweep, list[Job]], None]  # performs jobs and returns when they have ended
# What became of the sweep that this context runs; no parameter of the flow, since Prefect stores parameters as JSON
_record: ContextVar[dict[str, Any] | None] = ContextVar("record", default=None)


def run_here(procedure: Procedure, config: Experiment, options: RunOptions) -> Outcome:
    """Runs the flow in this process. If Prefect's server goes away, the sweep continues: MLflow has the record.

    Returns what became of the runs, and raises what the flow does.
    """
    if not is_up():
        notice(f"{LOST}; the sweep runs without it, and MLflow has its record")
        return _successful(run_experiment(procedure, config, options, run_in_threads))
    record: dict[str, Any] = {}
    token = _record.set(record)
    try:
        with record_history():
            procedure.flow(config, options)
        return record["outcome"]
    except (FailedRunsError, UserError):
        raise
    except Exception:
        if is_up() or ("begun" in record and "outcome" not in record):
            raise
        notice(f"{LOST}; its history of this sweep is incomplete, the record in MLflow is not")
        return _successful(record.get("outcome") or run_experiment(procedure, config, options, run_in_threads))
    finally:
        _record.reset(token)


def _successful(outcome: Outcome) -> Outcome:
    """Returns the outcome; raises FailedRunsError if runs failed or were skipped."""
    outcome.result()
    return outcome


def run_experiment(procedure: Procedure, config: Any, options: RunOptions, start: Start) -> Outcome:
    """Runs a sweep or study and writes its results, unless an earlier one has all of its runs.

    Args:
        procedure: What is particular to its kind.
        config: Its settings; with `next_seeds`, the seeds to add to an earlier one.
        options: What to resume, repeat, reuse or extend.
        start: Performs the jobs. Those that it could not start are performed without Prefect.

    Raises:
        UserError: The store is locked or cannot be written, or `next_seeds` finds no sweep to extend.
    """
    record = _record.get()
    record = {} if record is None else record
    record["begun"] = True
    with locked_store() as store:
        digest = experiment_digest(config)
        config, options = earlier.with_next_seeds(store, config, options, digest)
        unchanged = earlier.find_unchanged(store, config, options, digest)
        if unchanged:
            record["outcome"] = _point_to(store, unchanged, len(config.runs()))
        else:
            with open_sweep(store, config, options, digest) as sweep:
                record["outcome"] = _run_opened(procedure, sweep, config, start)
    return record["outcome"]


def _point_to(store: Store, sweep: Any, runs: int) -> Outcome:
    """Logs and publishes that an earlier sweep leaves nothing to train."""
    message = earlier.nothing_new(sweep)
    page = store.folder(sweep) / PAGE
    log("%s; report: %s", message, page)
    prefect_artifacts.publish_report(page, markdown_code(message))
    return Outcome(sweep.info.run_id, [], [], runs, message)


def _run_opened(procedure: Procedure, sweep: Sweep, config: Experiment, start: Start) -> Outcome:
    """Performs the jobs of an open sweep and writes its results."""
    prepared = procedure.prepare(sweep, config)
    trained = [Job(train, todo.config) for todo in sweep.plan.todo]
    start(sweep, [*prepared, *trained])
    run_in_threads(sweep, [job for job in (*prepared, *trained) if job.key not in sweep.outcomes])
    missing = Missing()
    for job in prepared:
        if error := sweep.outcomes[job.key]:
            missing.add(job.optional, error)
    procedure.finish(sweep, config, missing)
    if missing:
        log("missing: %s", missing)
    failed = [job.config.title for job in trained if sweep.outcomes[job.key]]
    left = [run.title for run in sweep.plan.left]
    return Outcome(sweep.record.run_id, failed, left, len(config.runs()))


def run_as_tasks(sweep: Sweep, jobs: list[Job]) -> None:
    """Performs jobs as Prefect tasks."""
    with without_owner_tags():
        # quoted: Prefect would search the sweep's fields for futures
        futures: list[PrefectFuture] = [
            sweep.threads.submit(job.task, {"config": job.config, "sweep": quote(sweep)}) for job in jobs
        ]
    with prefect_artifacts.show_progress(sweep.progress):
        wait(futures)


def run_in_threads(sweep: Sweep, jobs: list[Job]) -> None:
    """Performs jobs without Prefect."""
    threads = ThreadPoolExecutor(max_workers=sweep.pool.size + EXTRA_THREADS)
    try:
        futures = [threads.submit(job.task.fn, job.config, sweep) for job in jobs]
        while not all(future.done() for future in futures):  # in steps, so that signals are handled
            wait_for_threads(futures, timeout=0.5)
    except BaseException:
        sweep.pool.stop()  # threads wait for its jobs
        raise
    finally:
        threads.shutdown(cancel_futures=True)


@contextmanager
def recorded_outcome(sweep: Sweep, job: Job) -> Iterator[None]:
    """Records how a job ends."""
    try:
        yield
    except BaseException as error:
        sweep.outcomes[job.key] = error
        raise
    sweep.outcomes[job.key] = None


@task(task_run_name="{config.title}", cache_policy=NO_CACHE)
def train(config: AnyRun, sweep: Sweep) -> str:
    """Trains one run and returns its MLflow run id. A run whose process dies is resumed once in another process."""
    todo = sweep.todo(config)
    with recorded_outcome(sweep, Job(train, config)), sweep.display(config):
        try:
            run_id = sweep.run(todo)
        except DeadWorkerError as death:
            log("%s; the run is resumed in another process", death)
            run_id = sweep.retry(todo)
    log("MLflow run %s", run_id)
    return run_id


def log(text: str, *values: object) -> None:
    """Logs to the current Prefect run; there is none without Prefect."""
    with suppress(MissingContextError):
        get_run_logger().info(text, *values)
