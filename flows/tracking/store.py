"""Opens, resumes and closes MLflow runs in the project's store.

The scheduling process opens and closes every run. It outlives the processes that train, so a killed one leaves no run
open. Tags name the process that owns a run. When that process has ended, the next sweep closes the run. A resumed run
is reopened, and what it has recorded already is not written twice.
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
from flows.text import exception_line, one_line
from flows.tracking import artifact_store, database
from flows.tracking.artifact_store import Artifacts, LocalArtifacts, RemoteArtifacts
from flows.tracking.client import RetryingClient
from flows.tracking.process_owner import is_abandoned, owner_tags
from flows.tracking.recorder import TRACE, ProgressCallback, RunRecorder

EXPERIMENT = "keyhole"
PARENT = "mlflow.parentRunId"
SOURCE = {"mlflow.source.name": "keyhole", "mlflow.source.type": "LOCAL"}
NOTE = "mlflow.note.content"
CONFIG = "config"  # tag of a sweep that holds its settings as JSON


class Store:
    """The project's MLflow store."""

    def __init__(self, project: Project) -> None:
        self.project = project
        self.uri = database.database_uri(project.store) if project.store else f"sqlite:///{project.database}"

    @cached_property
    def client(self) -> Any:
        """MLflow's client of this store; the first access creates the store."""
        from mlflow.tracking import MlflowClient

        self.project.mlruns.mkdir(parents=True, exist_ok=True)
        with (self.project.mlruns / ".schema.lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # concurrent schema migrations corrupt the file
            client = RetryingClient(MlflowClient(tracking_uri=self.uri))
            if client.get_experiment_by_name(EXPERIMENT) is None:
                client.create_experiment(EXPERIMENT, artifact_location=self._artifact_location())
                if not self.project.store:
                    with sqlite3.connect(self.project.database) as connection:
                        connection.execute("PRAGMA journal_mode=wal")
        return client

    def _artifact_location(self) -> str | None:
        """The artifact address of a new store; None leaves the choice to the MLflow server."""
        is_server = self.uri.startswith("http")
        return self.project.artifact_uri or (None if is_server else str(self.project.artifacts))

    @cached_property
    def artifacts(self) -> Artifacts:
        """The runs' files; raises UserError if the store was created with another address than --artifacts."""
        location, option = self.client.get_experiment(self.experiment).artifact_location, self.project.artifact_uri
        if option and option.rstrip("/") != location.rstrip("/"):
            raise UserError(f"--artifacts: found {option!r}, but this store keeps its runs' files in {location!r}")
        artifact_store.check_artifact_uri(location)
        return (
            RemoteArtifacts(self.project.artifacts, self.client)
            if ":/" in location
            else LocalArtifacts(self.project.artifacts)
        )

    @cached_property
    def experiment(self) -> str:
        """The id of the experiment that holds every run."""
        return self.client.get_experiment_by_name(EXPERIMENT).experiment_id

    @contextmanager
    def run(
        self,
        name: str,
        params: Mapping[str, Any],
        tags: Mapping[str, str],
        parent: str | None = None,
        on_progress: ProgressCallback = lambda done, value: None,
        resume_id: str = "",
    ) -> Iterator["RunRecorder"]:
        """Open a run that ends with its block: FINISHED, FAILED with the error as a tag, or KILLED.

        Args:
            name: the run's name.
            params: its params; nested ones get dotted names.
            tags: its tags.
            parent: the run id of its sweep.
            on_progress: receives the steps done and the true return.
            resume_id: the id of the run to resume; empty for a new one.
        """
        lineage = {PARENT: parent} if parent else {}
        all_tags = {**owner_tags(), **SOURCE, **tags, **lineage}
        if resume_id:
            recorder = self._reopen(resume_id, all_tags, on_progress)
        else:
            recorder = self._create(name, all_tags, on_progress)
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
        """Return the artifact folder of an MLflow run; raise UserError if the database places it outside this store."""
        return self.artifacts.folder(run.info)

    def _create(self, name: str, tags: Mapping[str, str], on_progress: ProgressCallback) -> "RunRecorder":
        folder = self.artifacts.folder  # before the run is created, since it may raise
        info = self.client.create_run(self.experiment, tags=tags, run_name=name).info
        return RunRecorder(self.client, info.run_id, folder(info), on_progress, self.artifacts.upload)

    def _reopen(self, run_id: str, tags: Mapping[str, str], on_progress: ProgressCallback) -> "RunRecorder":
        run = self.client.get_run(run_id)
        recorder = RunRecorder(self.client, run_id, self.folder(run), on_progress, self.artifacts.upload)
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
        """Set the description that MLflow's page shows with the run."""
        self.client.set_tag(run_id, NOTE, f"```\n{text}\n```")

    def close_abandoned_runs(self) -> int:
        """Close the runs whose process has ended; return their number."""
        running = self.client.search_runs([self.experiment], "attributes.status = 'RUNNING'")
        abandoned = [run.info.run_id for run in running if is_abandoned(run.data.tags)]
        for run_id in abandoned:
            self.client.set_tag(run_id, "error", "its process ended without closing it")
            self.client.set_terminated(run_id, "KILLED")
        return len(abandoned)


def _final_status(error: BaseException) -> tuple[str, str, str]:
    """Return MLflow's status, the error and its traceback. A run stopped by Ctrl-C, for example, has not failed."""
    if isinstance(error, StoppedError) or not isinstance(error, Exception):
        return "KILLED", "stopped", ""
    if isinstance(error, FailedJobError):
        return "FAILED", one_line(error), error.trace
    if isinstance(error, DeadWorkerError):
        return "FAILED", one_line(error), ""
    return "FAILED", exception_line(error), "".join(traceback.format_exception(error))
