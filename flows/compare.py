"""The main job: every oversight method at every oversight level with every seed, then the picture.

Prefect keeps the history and the threads; the training happens in processes, for a learner owns its process's
global random generators. A run that fails does not end the sweep, and is named at its end.
"""

import json
from datetime import datetime
from pathlib import Path

from prefect import flow, get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.futures import wait

from flows.config import CompareConfig, TrainConfig, run_title
from flows.errors import DeadWorkerError
from flows.prefect_server.history import without_owner_tags
from flows.reporting import report
from flows.reporting.aggregate import compare_rows
from flows.sweep import prefect_artifacts
from flows.sweep.checks import check_sweep
from flows.sweep.finalize import finalize
from flows.sweep.plan import RunOptions
from flows.sweep.session import current_sweep, open_sweep
from flows.tracking import certificates, results

DEFAULTS, NEW = CompareConfig(), RunOptions()


class FailedRunsError(RuntimeError):
    """Some runs of a sweep failed, or were left alone; the others, and the report of them, are kept."""

    def __init__(self, sweep: str, failed: list[str], left: list[str], runs: int) -> None:
        super().__init__(sweep, failed, left, runs)
        self.sweep = sweep

    def __str__(self) -> str:
        _, failed, left, runs = self.args
        counts = {"failed": failed, "were left unfinished": left}
        told = (f"{len(which)} of {runs} runs {what}: {', '.join(which)}" for what, which in counts.items() if which)
        return "; ".join(told)


@flow(name="compare", flow_run_name=lambda: f"compare {datetime.now():%d %b %H:%M:%S}")
def compare(config: CompareConfig = DEFAULTS, wish: RunOptions = NEW) -> str:
    """How much true return each method keeps as oversight gets scarcer; the sweep's MLflow run id."""
    check_sweep(config)
    with open_sweep(config, wish) as sweep:
        with without_owner_tags():
            worlds = uncertified(config, sweep.record.folder)
            certified = [sweep.threads.submit(certify, {"config": run}) for run in worlds]
            trained = {run_title(t.config): sweep.threads.submit(train, {"config": t.config}) for t in sweep.plan.todo}
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


def uncertified(config: CompareConfig, folder: Path) -> list[TrainConfig]:
    """A run of each oversight level of which the sweep has no certificate yet."""
    plainest = sorted(config.runs(), key=lambda run: not run.arm)  # in the sweep's own world, where an arm is
    levels = {run.oversight: run for run in plainest}
    return [levels[level] for level in config.oversight if not certificates.certificate_path(folder, level).exists()]


@task(task_run_name="{config.label} p={config.oversight} seed={config.seed}", cache_policy=NO_CACHE)
def train(config: TrainConfig) -> str:
    """One run; once more if its process dies, for that is the machine's doing. Its MLflow run id."""
    todo = current_sweep().todo(config)
    with current_sweep().display(config):
        try:
            run_id = current_sweep().run(todo)
        except DeadWorkerError as death:
            get_run_logger().warning("%s; it goes on in another", death)
            run_id = current_sweep().retry(todo)
    get_run_logger().info("MLflow run %s", run_id)
    return run_id


@task(task_run_name="p={config.oversight}", cache_policy=NO_CACHE)
def certify(config: TrainConfig) -> None:
    """What an overseer can enforce in this world, where that can be computed; kept with the sweep."""
    found = current_sweep().pool.do("flows.running.worker:compute_certificate", config)
    if found:
        current_sweep().record.params(certificates.certificate_params(config.oversight, found))
        certificates.certificate_path(current_sweep().record.folder, config.oversight).write_text(
            json.dumps(found, indent=2) + "\n"
        )
