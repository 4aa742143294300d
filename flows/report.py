"""The report flow: writes a sweep's report from MLflow alone and shows its table as an artifact in the Prefect UI."""

import os

from prefect import flow, get_run_logger
from prefect.artifacts import create_markdown_artifact

from flows import search_path
from flows.project import current_project
from flows.reporting import report as pages
from flows.reporting.aggregate import compare_rows
from flows.tracking import results
from flows.tracking.access import require_runs
from flows.tracking.missing import Missing
from flows.tracking.store import Store


@flow(name="report")
def report(sweep: str = "") -> str:
    """Write the report of a sweep again; return the path of its page.

    Args:
        sweep: run id, start of a run id, or name of the sweep; empty for the newest.
    """
    search_path.append_folder(os.getcwd())
    store = Store(require_runs(current_project()))
    run_id = results.find_sweep(store, sweep or None)
    comparison = compare_rows(results.read_results(store, run_id))
    missing = Missing()
    page = pages.write_report(store, comparison, missing)
    if missing:
        get_run_logger().warning("missing: %s", missing)
    create_markdown_artifact(f"```\n{pages.summary(comparison)}\n```", key="report", description=run_id)
    get_run_logger().info("report: %s", page)
    return str(page)
