"""A sweep's report, as a flow: made again from MLflow alone; the table is an artifact on Prefect's page."""

from prefect import flow, get_run_logger
from prefect.artifacts import create_markdown_artifact

from flows.project import here
from flows.reporting import report as pages
from flows.tracking import results
from flows.tracking.access import recorded
from flows.tracking.store import Store


@flow(name="report")
def report(sweep: str = "") -> str:
    """Makes the files of a sweep once more; where its page is.

    Args:
        sweep: a run id, the start of one, or a sweep's name; empty: the newest sweep.
    """
    store = Store(recorded(here()))
    found = results.read(store, results.find(store, sweep or None))
    page = pages.write(store, found)
    create_markdown_artifact(f"```\n{pages.summary(found)}\n```", key="report", description=found.run_id)
    get_run_logger().info("report: %s", page)
    return str(page)
