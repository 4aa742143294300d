"""The main job: every oversight method at every oversight level with every seed, then the picture.

Prefect keeps the history and the threads; the training happens in processes, for a learner owns its process's
global random generators. A run that fails does not end the sweep, and is named at its end.
"""

import json
from datetime import datetime

from prefect import flow, get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.futures import wait

from flows import artifacts, certificates, report
from flows.checks import check_sweep
from flows.conclusion import conclude
from flows.config import CompareConfig, TrainConfig
from flows.pool import DeadWorkerError
from flows.progress import title
from flows.sweep import current, opened

DEFAULTS = CompareConfig()


class FailedRunsError(RuntimeError):
    """Some runs of a sweep failed; the others, and the report of them, are kept."""

    def __init__(self, sweep: str, failed: list[str], runs: int) -> None:
        super().__init__(sweep, failed, runs)
        self.sweep = sweep

    def __str__(self) -> str:
        _, failed, runs = self.args
        return f"{len(failed)} of {runs} runs failed: {', '.join(failed)}"


@flow(name="compare", flow_run_name=lambda: f"compare {datetime.now():%d %b %H:%M:%S}")
def compare(config: CompareConfig = DEFAULTS) -> str:
    """How much true return each method keeps as oversight gets scarcer; the sweep's MLflow run id."""
    check_sweep(config)
    runs = config.runs()
    with opened(config) as sweep:
        levels = {run.oversight: run for run in reversed(runs)}  # a run of each
        certified = [sweep.threads.submit(certify, {"config": levels[level]}) for level in config.oversight]
        trained = [sweep.threads.submit(train, {"config": run}) for run in runs]
        with artifacts.shown(sweep.progress):
            wait([*certified, *trained])
        page = report.write(sweep.store, sweep.record.run_id)
        artifacts.conclude(conclude(sweep.store, sweep.record.run_id), page)
        failed = [title(run) for run, future in zip(runs, trained, strict=True) if not future.state.is_completed()]
        if failed:
            raise FailedRunsError(sweep.record.run_id, failed, len(runs))
    return sweep.record.run_id


@task(task_run_name="{config.method} p={config.oversight} seed={config.seed}", cache_policy=NO_CACHE)
def train(config: TrainConfig) -> str:
    """One run; once more if its process dies, for that is the machine's doing. Its MLflow run id."""
    with current().shown(config):
        try:
            run_id = current().attempt(config, 1)
        except DeadWorkerError as death:
            get_run_logger().warning("%s; trying once more", death)
            run_id = current().attempt(config, 2)
    get_run_logger().info("MLflow run %s", run_id)
    return run_id


@task(task_run_name="p={config.oversight}", cache_policy=NO_CACHE)
def certify(config: TrainConfig) -> None:
    """What an overseer can enforce in this world, where that can be computed; kept with the sweep."""
    found = current().pool.do("flows.job:certificate", config)
    if found:
        current().record.params(certificates.params(config.oversight, found))
        certificates.path(current().record.folder, config.oversight).write_text(json.dumps(found, indent=2) + "\n")
