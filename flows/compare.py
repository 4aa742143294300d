"""Prefect flow that trains every method at every level with every seed, then writes the report.

Prefect supplies the history and the threads. Training happens in worker processes, because a learner seeds the global
random generators of its process. A failed run does not end the sweep; the sweep lists it when it ends.
"""

import json
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import wait as wait_for_threads
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from prefect import Task, flow, get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.exceptions import MissingContextError
from prefect.futures import PrefectFuture, wait
from prefect.utilities.annotations import quote

from flows import arms, search_path
from flows.axis import Level
from flows.config import CompareConfig, RunOptions, TrainConfig, run_title
from flows.errors import DeadWorkerError, UserError
from flows.prefect_server.history import record_history, without_owner_tags
from flows.prefect_server.server import is_up
from flows.reporting.report import PAGE
from flows.running import worker
from flows.sweep import earlier, prefect_artifacts
from flows.sweep.checks import check_sweep, expand_controls
from flows.sweep.finalize import finalize
from flows.sweep.session import EXTRA_THREADS, Sweep, locked_store, open_sweep
from flows.text import markdown_code
from flows.tracking import certificates
from flows.tracking.cache_key import code_digest
from flows.tracking.missing import Missing
from flows.tracking.notice import notice
from flows.tracking.store import Store

DEFAULTS, NEW = CompareConfig(), RunOptions()


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


@flow(name="compare", flow_run_name=lambda: f"compare {datetime.now():%d %b %H:%M:%S}")
def compare(config: CompareConfig = DEFAULTS, options: RunOptions = NEW) -> str:
    """Measures how much true return each method keeps as oversight gets scarcer.

    Args:
        config: The sweep.
        options: What to resume, repeat or reuse.

    Returns:
        The MLflow run id of the sweep.

    Raises:
        UserError: A run of the sweep could not start.
        FailedRunsError: Some runs failed or were skipped.
    """
    search_path.append_folder(os.getcwd())
    config = expand_controls(config)
    check_sweep(config)
    return run_sweep(config, options, _run_as_tasks).result()


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
    """A call of `train` or `certify`."""

    task: Task
    config: TrainConfig

    @property
    def key(self) -> str:
        return f"{self.task.name} {run_title(self.config)}"


LOST = "Prefect's server does not answer (see server.log in its home, by default .prefect)"
Start = Callable[[Sweep, list[Job]], None]  # performs jobs and returns when they have ended
# What became of the sweep that this context runs; no parameter of the flow, since Prefect stores parameters as JSON
_record: ContextVar[dict[str, Any] | None] = ContextVar("record", default=None)


def compare_here(config: CompareConfig, options: RunOptions) -> Outcome:
    """Runs the flow in this process. If Prefect's server goes away, the sweep continues: MLflow has the record.

    Returns what became of the runs, and raises what `compare` does.
    """
    if not is_up():
        notice(f"{LOST}; the sweep runs without it, and MLflow has its record")
        return _successful(run_sweep(config, options, _run_in_threads))
    record: dict[str, Any] = {}
    token = _record.set(record)
    try:
        with record_history():
            compare(config, options)
        return record["outcome"]
    except (FailedRunsError, UserError):
        raise
    except Exception:
        if is_up() or ("begun" in record and "outcome" not in record):
            raise
        notice(f"{LOST}; its history of this sweep is incomplete, the record in MLflow is not")
        return _successful(record.get("outcome") or run_sweep(config, options, _run_in_threads))
    finally:
        _record.reset(token)


def _successful(outcome: Outcome) -> Outcome:
    """Returns the outcome; raises FailedRunsError if runs failed or were skipped."""
    outcome.result()
    return outcome


def run_sweep(config: CompareConfig, options: RunOptions, start: Start) -> Outcome:
    """Runs a sweep, writes its report and registers its best agents, unless an earlier sweep has all of its runs.

    Args:
        config: The sweep; with `next_seeds`, the seeds to add to an earlier one.
        options: What to resume, repeat, reuse or extend.
        start: Performs the jobs. Those that it could not start are performed without Prefect.

    Raises:
        UserError: The store is locked or cannot be written, or `next_seeds` finds no sweep to extend.
    """
    record = _record.get()
    record = {} if record is None else record
    record["begun"] = True
    with locked_store() as store:
        digest = code_digest(config.env, worker.TRAIN)
        config, options = earlier.with_next_seeds(store, config, options, digest)
        unchanged = earlier.find_unchanged(store, config, options, digest)
        if unchanged:
            record["outcome"] = _point_to(store, unchanged, len(config.runs()))
        else:
            with open_sweep(store, config, options, digest) as sweep:
                record["outcome"] = _run_opened(sweep, config, start)
    return record["outcome"]


def _point_to(store: Store, sweep: Any, runs: int) -> Outcome:
    """Logs and publishes that an earlier sweep leaves nothing to train."""
    message = earlier.nothing_new(sweep)
    page = store.folder(sweep) / PAGE
    _log("%s; report: %s", message, page)
    prefect_artifacts.publish_report(page, markdown_code(message))
    return Outcome(sweep.info.run_id, [], [], runs, message)


def _run_opened(sweep: Sweep, config: CompareConfig, start: Start) -> Outcome:
    """Certifies the worlds of an open sweep, trains its runs and writes its results."""
    certified = [Job(certify, run) for run in uncertified(config, sweep.record.folder)]
    trained = [Job(train, todo.config) for todo in sweep.plan.todo]
    start(sweep, [*certified, *trained])
    _run_in_threads(sweep, [job for job in (*certified, *trained) if job.key not in sweep.outcomes])
    complete_levels(config, sweep.record)
    missing = Missing()
    for job in certified:
        if error := sweep.outcomes[job.key]:
            missing.add(f"certificate at {certificate_title(job.config)}", error)
    comparison = finalize(sweep.store, sweep.record.run_id, missing)
    prefect_artifacts.publish_results(comparison, comparison.results.folder / PAGE)
    if missing:
        _log("missing: %s", missing)
    failed = [run_title(job.config) for job in trained if sweep.outcomes[job.key]]
    left = [run_title(run) for run in sweep.plan.left]
    return Outcome(sweep.record.run_id, failed, left, len(config.runs()))


def _run_as_tasks(sweep: Sweep, jobs: list[Job]) -> None:
    """Performs jobs as Prefect tasks."""
    with without_owner_tags():
        # quoted: Prefect would search the sweep's fields for futures
        futures: list[PrefectFuture] = [
            sweep.threads.submit(job.task, {"config": job.config, "sweep": quote(sweep)}) for job in jobs
        ]
    with prefect_artifacts.show_progress(sweep.progress):
        wait(futures)


def _run_in_threads(sweep: Sweep, jobs: list[Job]) -> None:
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
def _outcome(sweep: Sweep, job: Job) -> Iterator[None]:
    """Records how a job ends."""
    try:
        yield
    except BaseException as error:
        sweep.outcomes[job.key] = error
        raise
    sweep.outcomes[job.key] = None


def uncertified(config: CompareConfig, folder: Path) -> list[TrainConfig]:
    """Returns one run for each world of the sweep that has no certificate yet in the sweep's folder.

    Every level has a world, and so has every level with the arguments that an arm changes.
    """
    first: dict[Path, TrainConfig] = {}
    for run in config.runs():
        first.setdefault(certificates.certificate_path(folder, run.at, changed_arguments(run)), run)
    return [run for path, run in first.items() if not path.exists()]


def complete_levels(config: CompareConfig, record: Any) -> None:
    """Gives each level whose arms all change an argument the certificate of its first arm."""
    first = {run.at: run for run in reversed(config.runs())}
    for level, run in first.items():
        certificate = certificates.read_certificate(record.folder, level, changed_arguments(run))
        if certificate and not certificates.certificate_path(record.folder, level).exists():
            store_certificate(record, level, {}, certificate)


def store_certificate(record: Any, level: Level, changes: dict[str, Any], certificate: dict[str, Any]) -> None:
    """Writes a certificate to a sweep's folder, and its numbers to the params if it is of the sweep's own world."""
    if not changes:
        record.params(certificates.certificate_params(level, certificate))
    path = certificates.certificate_path(record.folder, level, changes)
    path.write_text(json.dumps(certificate, indent=2) + "\n")


def changed_arguments(run: TrainConfig) -> dict[str, Any]:
    """The arguments of the environment in which the arm of a run differs from the sweep."""
    return arms.parse_arm(run.label).env_kwargs


def certificate_title(run: TrainConfig) -> str:
    """The world of a run in its sweep: the level, and the arguments that its arm changes."""
    return " ".join([str(run.at), *(f"{name}={value}" for name, value in changed_arguments(run).items())])


@task(task_run_name="{config.label} {config.at} seed={config.seed}", cache_policy=NO_CACHE)
def train(config: TrainConfig, sweep: Sweep) -> str:
    """Trains one run and returns its MLflow run id. A run whose process dies is resumed once in another process."""
    todo = sweep.todo(config)
    with _outcome(sweep, Job(train, config)), sweep.display(config):
        try:
            run_id = sweep.run(todo)
        except DeadWorkerError as death:
            _log("%s; the run is resumed in another process", death)
            run_id = sweep.retry(todo)
    _log("MLflow run %s", run_id)
    return run_id


@task(task_run_name="{config.at}", cache_policy=NO_CACHE)
def certify(config: TrainConfig, sweep: Sweep) -> None:
    """Certifies the world of a run, if it can be enumerated, and stores the certificate with the sweep."""
    with _outcome(sweep, Job(certify, config)):
        certificate = sweep.pool.do("flows.running.worker:compute_certificate", config)
        if certificate:
            store_certificate(sweep.record, config.at, changed_arguments(config), certificate)


def _log(text: str, *values: object) -> None:
    """Logs to the current Prefect run; there is none without Prefect."""
    with suppress(MissingContextError):
        get_run_logger().info(text, *values)
