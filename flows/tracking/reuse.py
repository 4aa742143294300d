"""Reuses finished runs: the record of an equal run is copied and tagged with the original's id."""

import os
import shutil
from pathlib import Path
from typing import Any

from flows.tracking import cache_key, results
from flows.tracking.recorder import RunRecorder
from flows.tracking.store import Store

REUSED = "reused_from"
# Prefixes of tags
NOT_COPIED = (
    "mlflow.", "host", "pid", "process", "heartbeat", "missing", "attempt", "resumed", "earlier_error", "registered",
    "archived", "status",
)  # fmt: skip


def find_equal_run(store: Store, key: str) -> Any:
    """Returns a finished MLflow run with this cache key whose files exist, or None. Prefers originals to copies.

    Archived runs are considered, too; runs that were deleted in the MLflow UI are not.
    """
    condition = f"attributes.status = 'FINISHED' and tags.{cache_key.CACHE_KEY} = '{key}'"
    equal = [*results.search_runs(store, condition), *results.search_runs(store, condition, archived=True)]
    complete = [run for run in equal if cache_key.NOT_REUSABLE not in run.data.tags and store.has_files(run)]
    return min(complete, key=lambda run: REUSED in run.data.tags, default=None)


def copy_run(store: Store, original: Any, into: RunRecorder) -> None:
    """Copies the parameters, tags, metrics and files of a run into another."""
    into.params(original.data.params)
    tags = {name: value for name, value in original.data.tags.items() if not name.startswith(NOT_COPIED)}
    into.tags({**tags, REUSED: original.data.tags.get(REUSED, original.info.run_id)})
    for name in original.data.metrics:
        into.points(store.client.get_metric_history(original.info.run_id, name))
    for file in store.folder(original).iterdir():
        if file.is_file():  # folders are derived later, such as a registered model
            _link(file, into.folder / file.name)


def _link(file: Path, copy: Path) -> None:
    try:
        os.link(file, copy)
    except OSError:  # another file system, or one without hard links
        shutil.copy2(file, copy)
