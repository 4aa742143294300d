"""Prefect flow that trains every method at every oversight level with every seed, then writes the report.

Prefect supplies the history and the threads. Training happens in worker processes, because a learner seeds the global
random generators of its process. A failed run does not end the sweep; the sweep lists it when it ends.
"""

import json
from datetime import datetime
from functools import partial
from pathlib import Path

from prefect import Task, flow, get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.futures import PrefectFuture, wait
from prefect.utilities.annotations import quote

from flows.config import CompareConfig, TrainConfig, run_title
from flows.errors import DeadWorkerError
from flows.prefect_server.history import without_owner_tags
from flows.reporting import report
from flows.reporting.aggregate import compare_rows
from flows.sweep import prefect_artifacts
from flows.sweep.checks import check_sweep
from flows.sweep.finalize import finalize
from flows.sweep.plan import RunOptions
from flows.sweep.session import Sweep, open_sweep
from flows.tracking import certificates, results

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
    check_sweep(config)
    with open_sweep(config, options) as sweep:
        with without_owner_tags():
            submit = partial(_submit, sweep)
            certified = [submit(certify, run) for run in uncertified(config, sweep.record.folder)]
            trained = {run_title(todo.config): submit(train, todo.config) for todo in sweep.plan.todo}
        with prefect_artifacts.show_progress(sweep.progress):
            wait([*certified, *trained.values()])
        found = results.read_results(sweep.store, sweep.record.run_id)
        comparison = compare_rows(found)
        page = report.write_report(sweep.store, comparison)
        finalize(sweep.store, found)
        prefect_artifacts.publish_results(comparison, page)
        failed = [name for name, future in trained.items() if not future.state.is_completed()]
        left = [run_title(run) for run in sweep.plan.left]
        if failed or left:
            raise FailedRunsError(sweep.record.run_id, failed, left, len(config.runs()))
    return sweep.record.run_id


def _submit(sweep: Sweep, job: Task, config: TrainConfig) -> PrefectFuture:
    # quoted: Prefect would search the sweep's fields for futures
    return sweep.threads.submit(job, {"config": config, "sweep": quote(sweep)})


def uncertified(config: CompareConfig, folder: Path) -> list[TrainConfig]:
    """Returns one run for each oversight level that has no certificate yet in the sweep's folder."""
    plainest = sorted(config.runs(), key=lambda run: not run.arm)  # prefers a run in the sweep's own world
    levels = {run.oversight: run for run in plainest}
    return [levels[level] for level in config.oversight if not certificates.certificate_path(folder, level).exists()]


@task(task_run_name="{config.label} p={config.oversight} seed={config.seed}", cache_policy=NO_CACHE)
def train(config: TrainConfig, sweep: Sweep) -> str:
    """Trains one run and returns its MLflow run id. A run whose process dies is resumed once in another process."""
    todo = sweep.todo(config)
    with sweep.display(config):
        try:
            run_id = sweep.run(todo)
        except DeadWorkerError as death:
            get_run_logger().warning("%s; the run is resumed in another process", death)
            run_id = sweep.retry(todo)
    get_run_logger().info("MLflow run %s", run_id)
    return run_id


@task(task_run_name="p={config.oversight}", cache_policy=NO_CACHE)
def certify(config: TrainConfig, sweep: Sweep) -> None:
    """Certifies the world of a run, if it can be enumerated, and stores the certificate with the sweep."""
    certificate = sweep.pool.do("flows.running.worker:compute_certificate", config)
    if certificate:
        sweep.record.params(certificates.certificate_params(config.oversight, certificate))
        path = certificates.certificate_path(sweep.record.folder, config.oversight)
        path.write_text(json.dumps(certificate, indent=2) + "\n")
