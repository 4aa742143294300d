"""Writes one MLflow run: params, metrics, tags and files."""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from flows.text import exception_line, one_line

TRACE = "error.txt"
FLUSH_SECONDS = 2.0  # between two writes of metrics
STATUS = "status"  # tag: MLflow's status, since its list of runs has no such column
MAX_ERROR_LENGTH = 400  # characters of an error stored as a tag
ProgressCallback = Callable[[int, float], None]  # receives the steps done and the true return
UploadCallback = Callable[[str, Path], None]  # receives a run id and the run's folder
log = logging.getLogger(__name__)


class RunRecorder:
    """Records one run in MLflow. `folder` is the run's artifact folder; files written there belong to the run."""

    def __init__(
        self,
        client: Any,
        run_id: str,
        folder: Path,
        progress: ProgressCallback,
        upload: UploadCallback = lambda run_id, folder: None,
    ) -> None:
        self.client, self.run_id, self.folder, self.progress, self._upload = client, run_id, folder, progress, upload
        folder.mkdir(parents=True, exist_ok=True)
        self.recorded_params: set[str] = set()  # names of params that a resumed run has already
        self.written: set[tuple[str, int]] = set()  # (metric, step) pairs that a resumed run has already
        self._points: list[tuple[str, float, int, int]] = []  # (metric, value, milliseconds, step) not yet written
        self._flushed = 0.0  # monotonic time of the last write

    def params(self, values: Mapping[str, Any]) -> None:
        """Record params, nested ones under dotted names; params recorded before keep their value."""
        from mlflow.entities import Param

        flat = [Param(key, str(value)) for key, value in flatten(values).items() if key not in self.recorded_params]
        for start in range(0, len(flat), 100):  # MLflow's limit for one batch
            self.client.log_batch(self.run_id, params=flat[start : start + 100])

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        """Record one point of each metric; points are written in batches, every `FLUSH_SECONDS`."""
        now = int(time.time() * 1000)
        new = [key for key in values if (key, step) not in self.written]
        self._points += [(key, float(values[key]), now, step) for key in new]
        if time.monotonic() - self._flushed > FLUSH_SECONDS:
            self.flush()

    def tags(self, values: Mapping[str, str]) -> None:
        """Set tags."""
        from mlflow.entities import RunTag

        self.client.log_batch(self.run_id, tags=[RunTag(key, str(value)) for key, value in values.items()])

    def handle_message(self, kind: str, payload: tuple) -> None:
        """Apply a call that a worker process forwarded: the method's name and its arguments."""
        getattr(self, kind)(*payload)

    def flush(self) -> None:
        """Write the metrics recorded since the last write."""
        from mlflow.entities import Metric

        points, self._points = self._points, []
        self.points([Metric(*point) for point in points])
        self._flushed = time.monotonic()

    def points(self, metrics: Sequence[Any]) -> None:
        """Write MLflow Metric objects."""
        for start in range(0, len(metrics), 1000):  # MLflow's limit for one batch
            self.client.log_batch(self.run_id, metrics=metrics[start : start + 1000])

    def upload(self) -> None:
        """Upload the run's files if the store keeps them at an address."""
        self._upload(self.run_id, self.folder)

    def close(self, status: str, reason: str = "", trace: str = "") -> None:
        """End the run.

        Args:
            status: MLflow's status.
            reason: the error in one line, stored as the tag `error`.
            trace: the traceback, stored as `error.txt`.
        """
        if trace:
            try:
                (self.folder / TRACE).write_text(trace, encoding="utf-8", errors="replace")
            except OSError as error:  # a full disk may be the reason that the run failed
                log.warning("run %s: cannot write %s: %s", self.run_id, TRACE, one_line(error))
        try:
            self.flush()
            if reason:
                self.client.set_tag(self.run_id, "error", reason[:MAX_ERROR_LENGTH])
            if status == "FINISHED":
                self._clear_error()
            else:
                self._try_upload()
        finally:
            self.client.set_terminated(self.run_id, status)
            self.client.set_tag(self.run_id, STATUS, status.lower())

    def _clear_error(self) -> None:
        """Remove the tag `error`, which another process sets if it takes this one for dead."""
        if "error" in self.client.get_run(self.run_id).data.tags:
            self.client.delete_tag(self.run_id, "error")

    def _try_upload(self) -> None:
        """Upload the files of a failed run; the error that ended the run matters more than a failed upload."""
        try:
            self.upload()
        except Exception as error:
            log.warning("run %s: its files stay in %s: %s", self.run_id, self.folder, exception_line(error))


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Flatten nested mappings: {'training': {'width': 64}} becomes {'training.width': 64}."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = ",".join(map(str, value)) if isinstance(value, list | tuple) else value
    return flat
