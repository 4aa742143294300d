"""Every run is an MLflow run in the project's own store. Only this file knows MLflow.

The process that schedules opens and closes the runs: it outlives the processes that train, so a killed one
leaves no run open. A run says which process owns it; where that is gone, the next sweep closes the run, and whoever
goes on with it opens it again: what it has said already is not written twice.
"""

import fcntl
import sqlite3
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

from flows.errors import DeadWorkerError, FailedJobError, StoppedError, UserError
from flows.project import Project
from flows.tracking import artifact_store, database
from flows.tracking.artifact_store import Artifacts, LocalArtifacts, RemoteArtifacts
from flows.tracking.client import RetryingClient
from flows.tracking.process_owner import is_abandoned, owner_tags
from flows.tracking.recorder import TRACE, ProgressCallback, RunRecorder

EXPERIMENT = "keyhole"
PARENT = "mlflow.parentRunId"
SOURCE = {"mlflow.source.name": "keyhole", "mlflow.source.type": "LOCAL"}
NOTE = "mlflow.note.content"
CONFIG = "config"  # tag of a sweep: its settings as JSON


class Store:
    """The project's runs."""

    def __init__(self, project: Project) -> None:
        self.project = project
        self.uri = database.database_uri(project.store) if project.store else f"sqlite:///{project.database}"

    @cached_property
    def client(self) -> Any:
        """MLflow's client of this store; the first use makes the store."""
        from mlflow.tracking import MlflowClient

        self.project.mlruns.mkdir(parents=True, exist_ok=True)
        with (self.project.mlruns / ".schema.lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # two processes in one schema migration destroy the file
            client = RetryingClient(MlflowClient(tracking_uri=self.uri))
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
        artifact_store.check_artifact_uri(made)
        return (
            RemoteArtifacts(self.project.artifacts, self.client)
            if ":/" in made
            else LocalArtifacts(self.project.artifacts)
        )

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
        watch: ProgressCallback = lambda done, value: None,
        again: str = "",
    ) -> Iterator["RunRecorder"]:
        """A run that ends as its block ends: FINISHED, FAILED with the error as tag, or KILLED.

        `parent` is the run id of its sweep; `watch` hears of its progress; `again` is the id of a run that goes on.
        """
        lineage = {PARENT: parent} if parent else {}
        all_tags = {**owner_tags(), **SOURCE, **tags, **lineage}
        recorder = self._reopened(again, all_tags, watch) if again else self._created(name, all_tags, watch)
        try:
            recorder.params(params)
            yield recorder
            recorder.flush()
            recorder.upload()
        except BaseException as error:
            recorder.close(*_final_status(error))
            raise
        recorder.close("FINISHED")

    def folder(self, run: Any) -> Path:
        """The artifact folder of an MLflow run. Raises UserError if the database says that it is not in this store."""
        return self.artifacts.folder(run.info)

    def _created(self, name: str, tags: Mapping[str, str], watch: ProgressCallback) -> "RunRecorder":
        folder = self.artifacts.folder  # first, for it may refuse
        info = self.client.create_run(self.experiment, tags=tags, run_name=name).info
        return RunRecorder(self.client, info.run_id, folder(info), watch, self.artifacts.upload)

    def _reopened(self, run_id: str, tags: Mapping[str, str], watch: ProgressCallback) -> "RunRecorder":
        run = self.client.get_run(run_id)
        recorder = RunRecorder(self.client, run_id, self.folder(run), watch, self.artifacts.upload)
        recorder.tags(tags)
        self.client.update_run(run_id, "RUNNING")
        if "error" in run.data.tags:
            recorder.tags({"earlier_error": run.data.tags["error"]})
            self.client.delete_tag(run_id, "error")
        if (recorder.folder / TRACE).exists():
            (recorder.folder / TRACE).replace(recorder.folder / f"earlier_{TRACE}")
        recorder.recorded_params = set(run.data.params)
        histories = (self.client.get_metric_history(run_id, name) for name in run.data.metrics)
        recorder.written = {(point.key, point.step) for history in histories for point in history}
        return recorder

    def describe(self, run_id: str, text: str) -> None:
        """The text that MLflow's page shows with the run."""
        self.client.set_tag(run_id, NOTE, f"```\n{text}\n```")

    def close_abandoned_runs(self) -> int:
        """Closes the runs whose process is gone; how many there were."""
        running = self.client.search_runs([self.experiment], "attributes.status = 'RUNNING'")
        dead = [run.info.run_id for run in running if is_abandoned(run.data.tags)]
        for run_id in dead:
            self.client.set_tag(run_id, "error", "its process ended without closing it")
            self.client.set_terminated(run_id, "KILLED")
        return len(dead)


def _final_status(error: BaseException) -> tuple[str, str, str]:
    """MLflow's status, the error in one line, its trace. Ctrl-C and its like are no failure of the run."""
    if isinstance(error, StoppedError) or not isinstance(error, Exception):
        return "KILLED", "stopped", ""
    if isinstance(error, FailedJobError):
        return "FAILED", str(error), error.trace
    if isinstance(error, DeadWorkerError):
        return "FAILED", str(error), ""
    return "FAILED", f"{type(error).__name__}: {error}", "".join(traceback.format_exception(error))
