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
from flows.reporting.aggregate import Cell, Comparison
from flows.reporting.numbers import plusminus
from flows.reporting.report import headline, label, result_columns, verdict_columns, verdict_word
from flows.reporting.study_report import StudyReport
from flows.sweep.progress import Progress
from flows.text import markdown_code

logger = logging.getLogger(__name__)
UPDATE_SECONDS = 2.0  # seconds between two updates
DESCRIPTION = (
    "{headline}. True return in the sweep {name}, with 95 % intervals; difference to the reference, paired by seed."
)

COLUMNS = ("verdict", "difference", "adjusted p", "pairs", "needed", "true return", "interquartile mean", "seeds")


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
            description=DESCRIPTION.format(
                headline=markdown_code(headline(comparison)), name=markdown_code(comparison.results.name)
            ),
        )
    publish_report(page, "opens on this machine")


def publish_study(report: StudyReport, page: Path) -> None:
    """Publishes the claims of a study and a link to its report in the Prefect UI."""
    if not is_up():
        return
    with log_suppressed(logger, "publishing the claims in the Prefect UI"):
        rows = [
            {"claim": decision.claim.text, "verdict": decision.verdict, "mean": plusminus(decision.interval)}
            for decision in report.decisions
        ]
        description = f"{report.verdict}: {markdown_code(report.results.name)}"
        create_table_artifact(rows, key="claims", description=description)
    publish_report(page, "opens on this machine")


def publish_report(page: Path, description: str) -> None:
    """Publishes a link to the report of a sweep in the Prefect UI, described in Markdown."""
    if not is_up():
        return
    with log_suppressed(logger, "publishing the report in the Prefect UI"):
        create_link_artifact(page.as_uri(), key="report", link_text=str(page), description=description)


def results_table(comparison: Comparison) -> list[dict[str, str]]:
    """The table: a row for each deployed policy and level, with its verdict first."""
    return [_results_row(comparison, cell) for cell in comparison.cells]


def _results_row(comparison: Comparison, cell: Cell) -> dict[str, str]:
    contrasted = (cell.row, cell.level) in comparison.contrasts
    _, *contrast = verdict_columns(comparison, cell) if contrasted else [""] * 5
    columns = [verdict_word(comparison, cell), *contrast, *result_columns(comparison, cell)]
    return {cell.level.axis: cell.level.text, "deployed": label(cell), **dict(zip(COLUMNS, columns, strict=True))}
