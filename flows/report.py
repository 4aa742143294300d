"""A sweep's report, as a flow: made again from MLflow alone; the table is an artifact on Prefect's page."""

from prefect import flow, get_run_logger
from prefect.artifacts import create_markdown_artifact

from flows.project import current_project
from flows.reporting import report as pages
from flows.tracking import results
from flows.tracking.access import require_runs
from flows.tracking.store import Store


@flow(name="report")
def report(sweep: str = "") -> str:
    """Makes the files of a sweep once more; where its page is.

    Args:
        sweep: a run id, the start of one, or a sweep's name; empty: the newest sweep.
    """
    store = Store(require_runs(current_project()))
    found = results.read_results(store, results.find_sweep(store, sweep or None))
    page = pages.write_report(store, found)
    create_markdown_artifact(f"```\n{pages.summary(found)}\n```", key="report", description=found.run_id)
    get_run_logger().info("report: %s", page)
    return str(page)
