"""A run that has been done before need not be done again: its record is copied, and says of which run it is a copy."""

import os
import shutil
from pathlib import Path
from typing import Any

from flows.errors import UserError
from flows.tracking import cache_key, results
from flows.tracking.recorder import RunRecorder
from flows.tracking.store import Store

REUSED = "reused_from"
NOT_COPIED = (
    "mlflow.",
    "host",
    "pid",
    "process",
    "heartbeat",
    "missing",
    "attempt",
    "resumed",
    "earlier_error",
    "registered",
)  # tags


def find_equal_run(store: Store, key: str) -> Any:
    """A finished run with that cache key whose files are still there; None if there is none."""
    found = results.search_runs(
        store, f"attributes.status = 'FINISHED' and tags.{cache_key.CACHE_KEY} = '{key}' and tags.kind = 'run'"
    )
    whole = [run for run in found if _has_files(store, run)]
    return min(whole, key=lambda run: REUSED in run.data.tags, default=None)  # the original before its copies


def _has_files(store: Store, run: Any) -> bool:
    try:
        return store.folder(run).is_dir()
    except UserError:  # they are outside of this store, and nothing is read there
        return False


def copy_run(store: Store, original: Any, into: RunRecorder) -> None:
    """Records what the original recorded: parameters, tags, series, files."""
    into.params(original.data.params)
    tags = {name: value for name, value in original.data.tags.items() if not name.startswith(NOT_COPIED)}
    into.tags({**tags, REUSED: original.data.tags.get(REUSED, original.info.run_id)})
    for name in original.data.metrics:
        into.points(store.client.get_metric_history(original.info.run_id, name))
    for file in store.folder(original).iterdir():
        if file.is_file():  # a folder is what was made of the run since
            _link(file, into.folder / file.name)


def _link(file: Path, at: Path) -> None:
    try:
        os.link(file, at)
    except OSError:  # another disk, or one that has no links
        shutil.copy2(file, at)
