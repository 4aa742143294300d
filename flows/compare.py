"""Prefect flow that trains every method at every level with every seed, then writes the report."""

import json
import os
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

from prefect import flow, task
from prefect.cache_policies import NO_CACHE

from flows import arms, search_path
from flows.axis import Level
from flows.config import CompareConfig, RunOptions, TrainConfig
from flows.reporting.report import PAGE
from flows.sweep import prefect_artifacts
from flows.sweep.checks import check_sweep, expand_controls
from flows.sweep.execute import Job, Procedure, recorded_outcome, run_as_tasks, run_experiment, run_here
from flows.sweep.finalize import finalize
from flows.sweep.session import Sweep
from flows.tracking import certificates
from flows.tracking.missing import Missing

DEFAULTS, NEW = CompareConfig(), RunOptions()


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
    return run_experiment(SWEEP, config, options, run_as_tasks).result()


def certify_jobs(sweep: Sweep, config: CompareConfig) -> list[Job]:
    """Returns the jobs that certify the worlds of a sweep."""
    runs = uncertified(config, sweep.record.folder)
    return [Job(certify, run, f"certificate at {certificate_title(run)}") for run in runs]


def publish(sweep: Sweep, config: CompareConfig, missing: Missing) -> None:
    """Writes and publishes the report of a sweep, and registers its best agents."""
    complete_levels(config, sweep.record)
    comparison = finalize(sweep.store, sweep.record.run_id, missing)
    prefect_artifacts.publish_results(comparison, comparison.results.folder / PAGE)


SWEEP = Procedure(compare, certify_jobs, publish)
compare_here = partial(run_here, SWEEP)


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


@task(task_run_name="{config.at}", cache_policy=NO_CACHE)
def certify(config: TrainConfig, sweep: Sweep) -> None:
    """Certifies the world of a run, if it can be enumerated, and stores the certificate with the sweep."""
    with recorded_outcome(sweep, Job(certify, config)):
        certificate = sweep.pool.do("flows.running.worker:compute_certificate", config)
        if certificate:
            store_certificate(sweep.record, config.at, changed_arguments(config), certificate)
