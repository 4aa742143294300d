"""Opens, resumes and closes MLflow runs in the project's store.

The scheduling process opens and closes every run. It outlives the processes that train, so a killed one leaves no run
open. Tags name the process that owns a run. When that process has ended, the next sweep closes the run. A resumed run
is reopened, and what it has recorded already is not written twice.
"""

import atexit
import fcntl
import logging
import shutil
import sqlite3
import threading
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, nullcontext
from functools import cached_property
from pathlib import Path
from tempfile import mkdtemp
from typing import Any
from uuid import uuid4

from flows.errors import DeadWorkerError, FailedJobError, StoppedError, UserError, log_suppressed
from flows.project import Project
from flows.shell import mlflow_command, shell_command
from flows.text import exception_line, one_line
from flows.tracking import addresses, artifact_store, database, local_database, process_owner
from flows.tracking.artifact_store import Artifacts, LocalArtifacts, RemoteArtifacts
from flows.tracking.client import RetryingClient, StoreLostError, use_own_retries
from flows.tracking.notice import notice
from flows.tracking.process_owner import HEARTBEAT, HEARTBEAT_SECONDS, owner_tags
from flows.tracking.recorder import STATUS, TRACE, ProgressCallback, RunRecorder

EXPERIMENT = "keyhole"
PARENT = "mlflow.parentRunId"
SOURCE = {"mlflow.source.name": "keyhole", "mlflow.source.type": "LOCAL"}
NOTE = "mlflow.note.content"
CLAIM = "claim"  # tag of a sweep at a server: the process that reopens it
CLAIM_SECONDS = 4.0  # from a claim until it is checked
log = logging.getLogger(__name__)
CONFIG = "config"  # tag of a sweep that holds its settings as JSON


class Store:
    """The project's MLflow store.

    Args:
        project: the project.
        creates: whether to create the experiment where the store has none; a command that reads does not.
    """

    def __init__(self, project: Project, creates: bool = True) -> None:
        self.project, self._creates = project, creates
        self.uri = database.database_uri(project.store) if project.store else f"sqlite:///{project.database}"

    @cached_property
    def client(self) -> Any:
        """MLflow's client of this store; the first access creates the store.

        Raises:
            UserError: the database is damaged, was made by another version of MLflow, or lost its experiment.
        """
        addresses.drop_foreign_addresses()
        use_own_retries()
        if not self.project.store and local_database.is_read_only(self.project.database):
            return self._open_copy()
        self.project.mlruns.mkdir(parents=True, exist_ok=True)
        with (self.project.mlruns / ".schema.lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # concurrent schema migrations corrupt the file
            if not self.project.store:
                self._prepare_file()
            client = self._connect(self.uri)
            experiment = client.get_experiment_by_name(EXPERIMENT)
            if experiment is None and not self._creates:
                compare = shell_command("compare", project=self.project)
                raise UserError(f"{self.name} has no experiment {EXPERIMENT}, so no runs; {compare} makes the first")
            if experiment is None:
                client.create_experiment(EXPERIMENT, artifact_location=self._artifact_location())
                if not self.project.store:
                    with closing(sqlite3.connect(self.project.database)) as connection:
                        connection.execute("PRAGMA journal_mode=wal")
            elif experiment.lifecycle_stage != "active":
                words = ("experiments", "restore", "--experiment-id", experiment.experiment_id)
                restore = mlflow_command(*words, uri=self.uri)
                raise UserError(f"the experiment {EXPERIMENT} of {self.name} is deleted; restore it with {restore}")
        return client

    @property
    def name(self) -> str:
        """The store as shown to the user, without a password."""
        return database.without_password(self.project.store) or str(self.project.mlruns)

    def _connect(self, uri: str) -> RetryingClient:
        from mlflow.tracking import MlflowClient

        client = MlflowClient(tracking_uri=uri, registry_uri=uri)
        file = "" if self.project.store else str(self.project.database)
        return RetryingClient(client, self.name, remote=bool(self.project.store), database=file)

    def _prepare_file(self) -> None:
        """Create or check the SQLite file; correct its paths if the store has moved."""
        local_database.create_private(self.project.database)
        local_database.check_schema(self.project.database)
        args = (self.project.database, self.project.artifacts, EXPERIMENT, process_owner.is_alive)
        if old := local_database.reroot(*args):
            notice(f"the store has moved: paths in its database now start with {self.project.artifacts}, not {old}")

    def _open_copy(self) -> RetryingClient:
        """Open a copy of a read-only store; what is written to it is lost."""
        folder = Path(mkdtemp(prefix="keyhole-store-"))
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        file = local_database.copy_for_reading(self.project.database, folder)
        local_database.check_schema(file)
        return self._connect(f"sqlite:///{file}")

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
        if ":/" not in location:
            return LocalArtifacts(self.project.artifacts)
        self.client.files = database.without_password(location)
        return RemoteArtifacts(self.project.artifacts, self.client)

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
        all_tags = {**owner_tags(), **SOURCE, STATUS: "running", **tags, **lineage}
        if not parent:
            self.client.start()
        if resume_id:
            if not parent and self.project.store:
                self._claim(resume_id)
            recorder = self._reopen(resume_id, all_tags, on_progress)
        else:
            recorder = self._create(name, all_tags, on_progress)
        try:
            with nullcontext() if parent else self._heartbeat(recorder.run_id):
                recorder.params(params)
                yield recorder
                recorder.flush()
                recorder.upload()
        except BaseException as error:
            if not isinstance(error, Exception):  # the user stops the command: nothing waits for a store that is away
                self.client.stop()
            try:
                recorder.close(*_final_status(error))
            except StoreLostError as lost:  # the error that ended the run matters more
                log.info("run %s stays open: %s", recorder.run_id, lost)
            raise
        recorder.close("FINISHED")

    def folder(self, run: Any) -> Path:
        """Return the artifact folder of an MLflow run; raise UserError if the database places it outside this store."""
        return self.artifacts.folder(run.info)

    def has_files(self, run: Any) -> bool:
        """Return whether the files of an MLflow run exist in this store."""
        try:
            return self.artifacts.has_files(run.info)
        except UserError:  # the database places them outside this store
            return False

    def _create(self, name: str, tags: Mapping[str, str], on_progress: ProgressCallback) -> "RunRecorder":
        artifacts = self.artifacts  # before the run is created, since it may raise
        info = self.client.create_run(self.experiment, tags=tags, run_name=name).info
        folder = artifacts.folder(info)
        if isinstance(artifacts, LocalArtifacts) and not self.project.store and info.artifact_uri != str(folder):
            local_database.place_run(self.project.database, info.run_id, folder)  # the store is a copy of another
        return RunRecorder(self.client, info.run_id, folder, on_progress, artifacts.upload)

    def _claim(self, run_id: str) -> None:
        """Make this process the only one that reopens a sweep; the lock of `mlruns` covers one folder, not a server.

        This is Fischer's algorithm with measured times: a process writes its claim at most `CLAIM_SECONDS / 2` after it
        has seen that the sweep is free, waits `CLAIM_SECONDS`, and owns the sweep if the claim is still its own and no
        other process has become the owner. It then records itself as the owner within `CLAIM_SECONDS / 2`.

        Raises:
            UserError: another process owns the sweep or claims it, or the store answers too slowly to find out.
        """
        from mlflow.entities import RunTag

        before = self.client.get_run(run_id)
        name = before.info.run_name
        if before.info.status == "RUNNING" and self.is_alive(before):
            raise UserError(f"sweep {name} is running in another process; wait until it ends")
        claim, start = uuid4().hex, time.monotonic()
        seen = self.client.get_run(run_id)
        self.client.set_tag(run_id, CLAIM, claim)
        wrote = time.monotonic()
        time.sleep(CLAIM_SECONDS)
        checked = time.monotonic()
        after = self.client.get_run(run_id)
        owners = {_owner(run) for run in (before, seen, after)}
        if len(owners) > 1 or after.data.tags[CLAIM] != claim:
            raise UserError(f"another process has just continued sweep {name}; wait until it ends, then try again")
        self.client.log_batch(run_id, tags=[RunTag(*tag) for tag in owner_tags().items()])
        self.client.update_run(run_id, "RUNNING")
        if wrote - start > CLAIM_SECONDS / 2 or time.monotonic() - checked > CLAIM_SECONDS / 2:
            self.client.update_run(run_id, before.info.status)
            raise UserError(f"{self.name} answers too slowly to continue sweep {name} safely; try again")

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
        """Set the description that the MLflow UI shows with the run."""
        self.client.set_tag(run_id, NOTE, f"```\n{text}\n```")

    @contextmanager
    def _heartbeat(self, run_id: str) -> Iterator[None]:
        """Raise the run's heartbeat while the block runs: observers on other machines see that its process lives."""
        ended = threading.Event()
        count = int(self.client.get_run(run_id).data.tags.get(HEARTBEAT, 0)) + 1  # a resumed run continues to count
        self.client.set_tag(run_id, HEARTBEAT, str(count))
        threading.Thread(target=self._beat, args=(run_id, count, ended), daemon=True).start()
        try:
            yield
        finally:
            ended.set()

    def _beat(self, run_id: str, count: int, ended: threading.Event) -> None:
        while not ended.wait(HEARTBEAT_SECONDS):
            count += 1
            with log_suppressed(log, f"the heartbeat of run {run_id}", logging.DEBUG):  # the next one may succeed
                self.client.set_tag(run_id, HEARTBEAT, str(count))

    def is_alive(self, run: Any) -> bool | None:
        """Return whether the process of an MLflow run lives; None if that cannot be found out.

        A process that cannot be seen from here is observed by its heartbeat, for up to `OBSERVATION_SECONDS`.
        """
        alive = process_owner.is_alive(run.data.tags)
        return bool(self._beating([run])) if alive is None and HEARTBEAT in run.data.tags else alive

    def _beating(self, runs: Sequence[Any]) -> set[str]:
        """Observe the heartbeats of runs; return the ids of those whose process lives."""
        ids = [run.info.run_id for run in runs]
        return process_owner.beating(lambda: {name: self.client.get_run(name).data.tags.get(HEARTBEAT) for name in ids})

    def close_abandoned_runs(self) -> int:
        """Close the runs whose process has ended; return their number.

        A run on another machine is left alone. A process that had this machine's name, but another boot or PID
        namespace, is observed by the heartbeat of its run or of its run's sweep.
        """
        running = self.client.search_runs([self.experiment], "attributes.status = 'RUNNING'")
        abandoned = [run for run in running if process_owner.is_abandoned(run.data.tags)]
        hidden = [run for run in running if process_owner.is_hidden_neighbour(run.data.tags)]
        beating = self._beating([run for run in hidden if HEARTBEAT in run.data.tags])
        abandoned += [run for run in hidden if not beating & {run.info.run_id, run.data.tags.get(PARENT)}]
        for run in abandoned:
            self.client.set_tag(run.info.run_id, "error", "its process ended without closing it")
            self.client.set_terminated(run.info.run_id, "KILLED")
            self.client.set_tag(run.info.run_id, STATUS, "killed")
        return len(abandoned)


def _owner(run: Any) -> tuple[str | None, ...]:
    """Return what changes in an MLflow run when another process reopens it."""
    return run.info.status, *(run.data.tags.get(name) for name in (*owner_tags(), HEARTBEAT))


def _final_status(error: BaseException) -> tuple[str, str, str]:
    """Return MLflow's status, the error and its traceback. A run stopped by Ctrl-C, for example, has not failed."""
    if isinstance(error, StoppedError) or not isinstance(error, Exception):
        return "KILLED", "stopped", ""
    if isinstance(error, FailedJobError):
        return "FAILED", one_line(error), error.trace
    if isinstance(error, DeadWorkerError):
        return "FAILED", one_line(error), ""
    return "FAILED", exception_line(error), "".join(traceback.format_exception(error))
