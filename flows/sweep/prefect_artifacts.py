"""What Prefect's page shows of a sweep: how far it is, what came out, and where its report is.

A page that could not be written to is no reason to end a sweep: what goes wrong here goes no further.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from prefect.artifacts import create_link_artifact, create_progress_artifact, create_table_artifact
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import ArtifactUpdate

from flows.reporting.aggregate import Comparison
from flows.reporting.report import plusminus
from flows.sweep.progress import Progress
from flows.text import markdown_code

UPDATE_SECONDS = 2.0  # seconds between two writes
DESCRIPTION = "True return in the sweep {name}: mean ± half of the 95 % interval over seeds."


@contextmanager
def show_progress(progress: Progress) -> Iterator[None]:
    """Prefect's page shows, while the block lasts, which part of the sweep's steps is done."""
    ended = threading.Event()
    with suppress(Exception):
        artifact = create_progress_artifact(0.0, key="progress", description="steps done, of all runs")
        threading.Thread(target=_update_progress, args=(artifact, progress, ended), daemon=True).start()
    try:
        yield
    finally:
        ended.set()


def _update_progress(artifact: Any, progress: Progress, ended: threading.Event) -> None:
    going, told = True, 0.0
    with suppress(Exception), get_client(sync_client=True) as client:  # one for all: making one reads all certificates
        while going:
            going = not ended.wait(UPDATE_SECONDS)
            share = progress.share
            if share != told:
                with suppress(Exception):
                    client.update_artifact(artifact, ArtifactUpdate(data=100 * share))
                    told = share


def publish_results(comparison: Comparison, page: Path) -> None:
    """Prefect's page shows the table of a sweep, and the address of its report."""
    with suppress(Exception):
        create_table_artifact(
            results_table(comparison),
            key="results",
            description=DESCRIPTION.format(name=markdown_code(comparison.results.name)),
        )
        create_link_artifact(page.as_uri(), key="report", link_text=str(page), description="opens on this machine")


def results_table(comparison: Comparison) -> list[dict[str, str]]:
    """A row for each way to deploy, a column for each oversight level: mean true return and half its interval."""
    shown = {(cell.row, cell.oversight): plusminus(cell.true_return) for cell in comparison.cells}
    return [
        {"deployed": name, **{f"p={level:g}": shown.get((name, level), "") for level in comparison.levels}}
        for name in comparison.rows
    ]
