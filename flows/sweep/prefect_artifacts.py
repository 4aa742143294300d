"""Publishes a sweep's progress, results and report in the Prefect UI.

Errors are logged and suppressed: a page that cannot be written must not end a sweep.
"""

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from prefect.artifacts import create_link_artifact, create_progress_artifact, create_table_artifact
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import ArtifactUpdate

from flows.errors import log_suppressed
from flows.prefect_server.server import is_up
from flows.reporting.aggregate import Comparison
from flows.reporting.report import plusminus
from flows.sweep.progress import Progress
from flows.text import markdown_code

logger = logging.getLogger(__name__)
UPDATE_SECONDS = 2.0  # seconds between two updates
DESCRIPTION = "True return in the sweep {name}: mean ± half of the 95 % interval over seeds."


@contextmanager
def show_progress(progress: Progress) -> Iterator[None]:
    """Shows in the Prefect UI the share of the sweep's steps that is done, while the block runs."""
    ended = threading.Event()
    with log_suppressed(logger, "showing progress in the Prefect UI", logging.INFO):
        artifact = create_progress_artifact(0.0, key="progress", description="steps done, of all runs")
        threading.Thread(target=_update_progress, args=(artifact, progress, ended), daemon=True).start()
    try:
        yield
    finally:
        ended.set()


def _update_progress(artifact: Any, progress: Progress, ended: threading.Event) -> None:
    active, written = True, 0.0
    action = "updating the progress in the Prefect UI"
    # one client for all updates: creating one loads every TLS certificate
    with log_suppressed(logger, action), get_client(sync_client=True) as client:
        while active:
            active = not ended.wait(UPDATE_SECONDS)
            share = progress.share
            if share != written:
                with log_suppressed(logger, action, logging.INFO):  # the next update may succeed
                    client.update_artifact(artifact, ArtifactUpdate(data=100 * share))
                    written = share


def publish_results(comparison: Comparison, page: Path) -> None:
    """Publishes the table of a sweep and a link to its report in the Prefect UI."""
    if not is_up():
        return  # each request would be repeated for seconds
    with log_suppressed(logger, "publishing the results in the Prefect UI"):
        create_table_artifact(
            results_table(comparison),
            key="results",
            description=DESCRIPTION.format(name=markdown_code(comparison.results.name)),
        )
    publish_report(page, "opens on this machine")


def publish_report(page: Path, description: str) -> None:
    """Publishes a link to the report of a sweep in the Prefect UI, described in Markdown."""
    if not is_up():
        return
    with log_suppressed(logger, "publishing the report in the Prefect UI"):
        create_link_artifact(page.as_uri(), key="report", link_text=str(page), description=description)


def results_table(comparison: Comparison) -> list[dict[str, str]]:
    """The table: a row for each deployed policy, a column with mean true return and interval for each level."""
    shown = {(cell.row, cell.oversight): plusminus(cell.true_return) for cell in comparison.cells}
    return [
        {"deployed": name, **{f"p={level:g}": shown.get((name, level), "") for level in comparison.levels}}
        for name in comparison.rows
    ]
