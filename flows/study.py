"""Prefect flow that makes every run of a study, then decides its claims and writes its report."""

import os
from datetime import datetime
from functools import partial

from prefect import flow

from flows import search_path
from flows.config import RunOptions
from flows.errors import UserError
from flows.reporting.study_report import StudyReport, read_report, write_study_report
from flows.running.runners import check_runner
from flows.study_config import StudyConfig
from flows.sweep import prefect_artifacts
from flows.sweep.execute import Job, Procedure, run_as_tasks, run_experiment, run_here
from flows.sweep.session import Sweep
from flows.tracking.missing import MISSING, Missing
from flows.tracking.store import Store

DEFAULTS, NEW = StudyConfig(), RunOptions()


@flow(name="study", flow_run_name=lambda: f"study {datetime.now():%d %b %H:%M:%S}")
def study(config: StudyConfig = DEFAULTS, options: RunOptions = NEW) -> str:
    """Runs a small supervised experiment and decides its claims.

    Args:
        config: The study.
        options: What to resume, repeat or reuse.

    Returns:
        The MLflow run id of the study.

    Raises:
        UserError: There is no such study.
        FailedRunsError: Some runs failed or were skipped.
    """
    search_path.append_folder(os.getcwd())
    check_study(config)
    return run_experiment(STUDY, config, options, run_as_tasks).result()


def check_study(config: StudyConfig) -> None:
    """Raises UserError if there is no such study, or its runner is not installed."""
    from agents import studies

    try:
        studies.find_study(config.study)
    except ValueError as error:
        raise UserError(str(error)) from None
    check_runner(config)


def no_jobs(sweep: Sweep, config: StudyConfig) -> list[Job]:
    """A study has no jobs beside its runs."""
    return []


def finish(sweep: Sweep, config: StudyConfig, missing: Missing) -> None:
    """Writes and publishes the report of a study, and tags and logs its verdicts."""
    finish_study(sweep.store, sweep.record.run_id, missing)


def finish_study(store: Store, run_id: str, missing: Missing) -> StudyReport:
    """Writes the report of a study that has its runs; returns it."""
    report = read_report(store, run_id)
    page = write_study_report(store, report, missing)
    with missing.part("tags and metrics of the study"):
        store.client.set_tag(run_id, "verdict", report.verdict)
        for number, decision in enumerate(report.decisions, 1):
            store.client.set_tag(run_id, f"claim {number}", f"{decision.verdict}: {decision.claim.text}"[:400])
            if decision.interval.n:
                store.client.log_metric(run_id, f"claim/{number}", decision.interval.mean)
    if missing:
        store.client.set_tag(run_id, MISSING, str(missing))
    prefect_artifacts.publish_study(report, page)
    return report


STUDY = Procedure(study, no_jobs, finish)
study_here = partial(run_here, STUDY)
