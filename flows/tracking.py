"""Every run is an MLflow run in the project's own store. Only this file knows MLflow.

The process that schedules opens and closes the runs: it outlives the processes that train, so a killed one
leaves no run open. A run says which process owns it; where that is gone, the next sweep closes the run, and whoever
goes on with it opens it again: what it has said already is not written twice.
"""

import fcntl
import functools
import logging
import sqlite3
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import Any

from flows import artifact_store, database
from flows.artifact_store import Artifacts, Folder, Remote
from flows.mistakes import UserError
from flows.owner import abandoned, owner
from flows.pool import DeadWorkerError, FailedJobError, StoppedError
from flows.project import Project

EXPERIMENT = "keyhole"
PARENT = "mlflow.parentRunId"
SOURCE = {"mlflow.source.name": "keyhole", "mlflow.source.type": "LOCAL"}
NOTE = "mlflow.note.content"
CONFIG = "config"  # tag of a sweep: its settings as JSON
PATIENCE = 120.0  # seconds that a database may stay locked
TRACE = "error.txt"
FLUSH_SECONDS = 2.0
Watch = Callable[[int, float], None]  # hears the steps done and the true return
Keep = Callable[[str, Path], None]  # takes a run id and the run's folder
SENTENCE = 400  # characters of an error kept as a tag


class Patient:
    """A client of MLflow that waits while another process has locked the database."""

    def __init__(self, client: Any) -> None:
        self._client = client
        logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)  # it would print every wait

    def __getattr__(self, name: str) -> Any:
        return functools.partial(self._asked, getattr(self._client, name))

    def _asked(self, method: Callable, *args: Any, **kwargs: Any) -> Any:
        """What is refused for the lock has not been done: it can be asked again."""
        start = time.monotonic()
        while True:
            try:
                return method(*args, **kwargs)
            except Exception as error:
                if "database is locked" not in str(error) or time.monotonic() - start > PATIENCE:
                    raise
            time.sleep(0.2)


class Store:
    """The project's runs."""

    def __init__(self, project: Project) -> None:
        self.project = project
        self.uri = database.address(project.store) if project.store else f"sqlite:///{project.database}"

    @cached_property
    def client(self) -> Any:
        """MLflow's client of this store; the first use makes the store."""
        from mlflow.tracking import MlflowClient

        self.project.mlruns.mkdir(parents=True, exist_ok=True)
        with (self.project.mlruns / ".schema.lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # two processes in one schema migration destroy the file
            client = Patient(MlflowClient(tracking_uri=self.uri))
            if client.get_experiment_by_name(EXPERIMENT) is None:
                client.create_experiment(EXPERIMENT, artifact_location=self._artifact_location())
                if not self.project.store:
                    with sqlite3.connect(self.project.database) as file:
                        file.execute("PRAGMA journal_mode=wal")
        return client

    def _artifact_location(self) -> str | None:
        """Of a new store; None: where the MLflow server at its address keeps them."""
        served = self.uri.startswith("http")
        return self.project.artifact_uri or (None if served else str(self.project.artifacts))

    @cached_property
    def artifacts(self) -> Artifacts:
        """Where the runs' files are; raises UserError if the store was made with another address than now wanted."""
        made, wanted = self.client.get_experiment(self.experiment).artifact_location, self.project.artifact_uri
        if wanted and wanted.rstrip("/") != made.rstrip("/"):
            raise UserError(f"--artifacts: found {wanted!r}, but this store keeps its runs' files in {made!r}")
        artifact_store.check(made)
        return Remote(self.project.artifacts, self.client) if ":/" in made else Folder(self.project.artifacts)

    @cached_property
    def experiment(self) -> str:
        return self.client.get_experiment_by_name(EXPERIMENT).experiment_id

    @contextmanager
    def run(
        self,
        name: str,
        params: Mapping[str, Any],
        tags: Mapping[str, str],
        parent: str | None = None,
        watch: Watch = lambda done, value: None,
        again: str = "",
    ) -> Iterator["RunRecorder"]:
        """A run that ends as its block ends: FINISHED, FAILED with the error as tag, or KILLED.

        `parent` is the run id of its sweep; `watch` hears of its progress; `again` is the id of a run that goes on.
        """
        lineage = {PARENT: parent} if parent else {}
        all_tags = {**owner(), **SOURCE, **tags, **lineage}
        recorder = self._reopened(again, all_tags, watch) if again else self._created(name, all_tags, watch)
        try:
            recorder.params(params)
            yield recorder
            recorder.flush()
            recorder.keep()
        except BaseException as error:
            recorder.close(*_judged(error))
            raise
        recorder.close("FINISHED")

    def folder(self, run: Any) -> Path:
        """The artifact folder of an MLflow run. Raises UserError if the database says that it is not in this store."""
        return self.artifacts.folder(run.info)

    def _created(self, name: str, tags: Mapping[str, str], watch: Watch) -> "RunRecorder":
        folder = self.artifacts.folder  # first, for it may refuse
        info = self.client.create_run(self.experiment, tags=tags, run_name=name).info
        return RunRecorder(self.client, info.run_id, folder(info), watch, self.artifacts.keep)

    def _reopened(self, run_id: str, tags: Mapping[str, str], watch: Watch) -> "RunRecorder":
        run = self.client.get_run(run_id)
        recorder = RunRecorder(self.client, run_id, self.folder(run), watch, self.artifacts.keep)
        recorder.tags(tags)
        self.client.update_run(run_id, "RUNNING")
        if "error" in run.data.tags:
            recorder.tags({"earlier_error": run.data.tags["error"]})
            self.client.delete_tag(run_id, "error")
        if (recorder.folder / TRACE).exists():
            (recorder.folder / TRACE).replace(recorder.folder / f"earlier_{TRACE}")
        recorder.said = set(run.data.params)
        histories = (self.client.get_metric_history(run_id, name) for name in run.data.metrics)
        recorder.written = {(point.key, point.step) for history in histories for point in history}
        return recorder

    def describe(self, run_id: str, text: str) -> None:
        """The text that MLflow's page shows with the run."""
        self.client.set_tag(run_id, NOTE, f"```\n{text}\n```")

    def reap(self) -> int:
        """Closes the runs whose process is gone; how many there were."""
        running = self.client.search_runs([self.experiment], "attributes.status = 'RUNNING'")
        dead = [run.info.run_id for run in running if abandoned(run.data.tags)]
        for run_id in dead:
            self.client.set_tag(run_id, "error", "its process ended without closing it")
            self.client.set_terminated(run_id, "KILLED")
        return len(dead)


class RunRecorder:
    """What a run says of itself. Its folder is the run's artifact folder: a file written is a file kept."""

    def __init__(
        self, client: Any, run_id: str, folder: Path, watch: Watch, keep: Keep = lambda run, path: None
    ) -> None:
        self.client, self.run_id, self.folder, self.progress, self._keep = client, run_id, folder, watch, keep
        folder.mkdir(parents=True, exist_ok=True)
        self.said: set[str] = set()  # parameters
        self.written: set[tuple[str, int]] = set()  # series and step, of a run that goes on
        self._points: list[tuple[str, float, int, int]] = []
        self._flushed = 0.0

    def params(self, values: Mapping[str, Any]) -> None:
        from mlflow.entities import Param

        flat = [Param(key, str(value)) for key, value in flatten(values).items() if key not in self.said]
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

    def hear(self, kind: str, payload: tuple) -> None:
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

    def keep(self) -> None:
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
                self.client.set_tag(self.run_id, "error", reason[:SENTENCE])
            if status != "FINISHED":
                with suppress(Exception):  # the error that ended the run is the one to tell; its files are here
                    self.keep()
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


def _judged(error: BaseException) -> tuple[str, str, str]:
    """MLflow's status, the error in one line, its trace. Ctrl-C and its like are no failure of the run."""
    if isinstance(error, StoppedError) or not isinstance(error, Exception):
        return "KILLED", "stopped", ""
    if isinstance(error, FailedJobError):
        return "FAILED", str(error), error.trace
    if isinstance(error, DeadWorkerError):
        return "FAILED", str(error), ""
    return "FAILED", f"{type(error).__name__}: {error}", "".join(traceback.format_exception(error))
