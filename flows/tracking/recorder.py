"""Writes one MLflow run: parameters, metrics, tags and files."""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

TRACE = "error.txt"


FLUSH_SECONDS = 2.0


ProgressCallback = Callable[[int, float], None]  # hears the steps done and the true return


UploadCallback = Callable[[str, Path], None]  # takes a run id and the run's folder


MAX_ERROR_LENGTH = 400  # characters of an error kept as a tag


class RunRecorder:
    """What a run says of itself. Its folder is the run's artifact folder: a file written is a file kept."""

    def __init__(
        self,
        client: Any,
        run_id: str,
        folder: Path,
        watch: ProgressCallback,
        keep: UploadCallback = lambda run, path: None,
    ) -> None:
        self.client, self.run_id, self.folder, self.progress, self._keep = client, run_id, folder, watch, keep
        folder.mkdir(parents=True, exist_ok=True)
        self.recorded_params: set[str] = set()  # parameters
        self.written: set[tuple[str, int]] = set()  # series and step, of a run that goes on
        self._points: list[tuple[str, float, int, int]] = []
        self._flushed = 0.0

    def params(self, values: Mapping[str, Any]) -> None:
        from mlflow.entities import Param

        flat = [Param(key, str(value)) for key, value in flatten(values).items() if key not in self.recorded_params]
        for start in range(0, len(flat), 100):  # MLflow takes no more at once
            self.client.log_batch(self.run_id, params=flat[start : start + 100])

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        """One point of each series; written within some seconds, together with its neighbours."""
        now = int(time.time() * 1000)
        fresh = [key for key in values if (key, step) not in self.written]
        self._points += [(key, float(values[key]), now, step) for key in fresh]
        if time.monotonic() - self._flushed > FLUSH_SECONDS:
            self.flush()

    def tags(self, values: Mapping[str, str]) -> None:
        from mlflow.entities import RunTag

        self.client.log_batch(self.run_id, tags=[RunTag(key, str(value)) for key, value in values.items()])

    def handle_message(self, kind: str, payload: tuple) -> None:
        """What a recorder in another process was told."""
        getattr(self, kind)(*payload)

    def flush(self) -> None:
        from mlflow.entities import Metric

        points, self._points = self._points, []
        self.points([Metric(*point) for point in points])
        self._flushed = time.monotonic()

    def points(self, metrics: Sequence[Any]) -> None:
        """Writes MLflow's own points."""
        for start in range(0, len(metrics), 1000):
            self.client.log_batch(self.run_id, metrics=metrics[start : start + 1000])

    def upload(self) -> None:
        """The run's files so far are where the store keeps files."""
        self._keep(self.run_id, self.folder)

    def close(self, status: str, reason: str = "", trace: str = "") -> None:
        """Ends the run; a trace is kept as a file."""
        if trace:
            with suppress(OSError):  # a disk that is full may be why it failed
                (self.folder / TRACE).write_text(trace)
        try:
            self.flush()
            if reason:
                self.client.set_tag(self.run_id, "error", reason[:MAX_ERROR_LENGTH])
            if status != "FINISHED":
                with suppress(Exception):  # the error that ended the run is the one to tell; its files are here
                    self.upload()
        finally:
            self.client.set_terminated(self.run_id, status)


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """{'training': {'width': 64}} becomes {'training.width': 64}."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = ",".join(map(str, value)) if isinstance(value, list | tuple) else value
    return flat
