"""The store returns what was recorded, closes every run, and closes runs of dead processes only."""

import multiprocessing
import os
import sqlite3

import pytest

from flows.errors import FailedJobError, StoppedError
from flows.project import Project
from flows.tracking.process_owner import owner_tags
from flows.tracking.recorder import RunRecorder, flatten
from flows.tracking.store import PARENT, Store


def read(store, run_id):
    return store.client.get_run(run_id)


def test_a_run_stores_its_params_tags_metrics_and_files(store):
    with store.run("parent", {}, {"kind": "sweep"}) as parent:
        params = {"steps": 5, "training": {"width": 8}, "oversight": [0.1, 0.2]}
        with store.run("child", params, {"method": "naive"}, parent=parent.run_id) as record:
            for step in range(250):
                record.metrics(step, {"eval/true_return": step / 10, "train/value_loss": float("nan")})
            record.tags({"exactness": "exact"})
            (record.folder / "agent.zip").write_bytes(b"weights")
    run = read(store, record.run_id)
    assert run.info.status == "FINISHED"
    assert run.data.params == {"steps": "5", "training.width": "8", "oversight": "0.1,0.2"}
    assert run.data.metrics["eval/true_return"] == 24.9
    assert {
        "method": "naive",
        "status": "finished",
        "exactness": "exact",
        PARENT: parent.run_id,
    }.items() <= run.data.tags.items()
    assert [point.step for point in store.client.get_metric_history(record.run_id, "eval/true_return")] == list(
        range(250)
    )
    assert [file.path for file in store.client.list_artifacts(record.run_id)] == ["agent.zip"]
    assert record.folder.is_relative_to(store.project.artifacts)


def test_metrics_are_written_in_batches(store):
    writes = []

    class Client:
        def log_batch(self, run_id, metrics):
            writes.append(len(metrics))

    record = RunRecorder(Client(), "run", store.project.mlruns, lambda done, value: None)
    for step in range(100):
        record.metrics(step, {"a": 0.0, "b": 0.0})
    record.flush()
    assert writes == [2, 198]


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (ValueError("no\nsense"), "FAILED", "ValueError: no sense"),
        (FailedJobError("KeyError: 'x'", "Traceback of the worker"), "FAILED", "KeyError: 'x'"),
        (StoppedError("the sweep was stopped"), "KILLED", "stopped"),
        (KeyboardInterrupt(), "KILLED", "stopped"),
        (SystemExit(1), "KILLED", "stopped"),
    ],
)
def test_a_run_ends_as_its_block_ends(store, error, status, message):
    block = store.run("run", {}, {})
    record = block.__enter__()
    record.metrics(1, {"a": 1.0})
    record.metrics(2, {"a": 2.0})
    assert not block.__exit__(type(error), error, None)  # the error propagates
    run = read(store, record.run_id)
    assert (run.info.status, run.data.tags["error"]) == (status, message)
    assert run.data.metrics["a"] == 2.0
    assert (record.folder / "error.txt").exists() == (status == "FAILED")


def test_only_runs_of_dead_processes_are_closed(store):
    with store.run("alive", {}, {}) as alive:
        dead = store.client.create_run(store.experiment, tags={**owner_tags(), "pid": str(2**22 + 1)}).info.run_id
        remote = store.client.create_run(store.experiment, tags={"host": "another", "pid": "1"}).info.run_id
        assert store.close_abandoned_runs() == 1
        states = {run_id: read(store, run_id).info.status for run_id in (alive.run_id, dead, remote)}
    assert states == {alive.run_id: "RUNNING", dead: "KILLED", remote: "RUNNING"}


def open_store(root):
    store = Store(Project(root, root / "mlruns"))
    with store.run(f"of {os.getpid()}", {}, {}):
        return


@pytest.mark.slow
def test_processes_that_create_a_store_concurrently_do_not_corrupt_it(tmp_path):
    context = multiprocessing.get_context("spawn")
    openers = [context.Process(target=open_store, args=(tmp_path,)) for _ in range(3)]
    for opener in openers:
        opener.start()
    for opener in openers:
        opener.join()
    assert [opener.exitcode for opener in openers] == [0, 0, 0]
    with sqlite3.connect(tmp_path / "mlruns" / "mlflow.db") as database:
        assert database.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert database.execute("SELECT count(*) FROM runs WHERE status = 'FINISHED'").fetchone() == (3,)


def test_flattening_joins_nested_names_with_dots():
    assert flatten({"a": {"b": {"c": 1}}, "d": (1, 2), "e": None}) == {"a.b.c": 1, "d": "1,2", "e": None}
