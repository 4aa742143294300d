"""Which runs of a sweep are trained, resumed, reused or skipped; a resumed run records nothing twice."""

import sqlite3
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from flows.cli.listing import Filters, list_entries
from flows.config import CompareConfig, RunOptions, TrainConfig
from flows.errors import UserError
from flows.project import Project
from flows.sweep import plan
from flows.tracking import cache_key, reuse
from flows.tracking.access import check_writable
from flows.tracking.recorder import RunRecorder
from flows.tracking.store import CONFIG, Store

CONFIGURATION = CompareConfig(methods=("naive", "filtering"), oversight=(0.1,), seeds=2, steps=10)
DIGEST = "code"


def name(run: TrainConfig) -> str:
    return f"{run.method} {run.seed}"


RUNS = {name(run): run for run in CONFIGURATION.runs()}


class Stop(BaseException):
    """Stands for Ctrl-C."""


@contextmanager
def stopped(store: Store, title: str, tags: dict[str, str]) -> Iterator[RunRecorder]:
    """A run that is stopped at the end of the block."""
    with suppress(Stop), store.run(title, {"steps": 10}, tags) as run:
        yield run
        raise Stop


def record(store: Store, parent: str, run: TrainConfig, end: BaseException | None, digest: str = DIGEST) -> str:
    """Records an MLflow run of the sweep that ends with an exception, or finishes if `end` is None; returns its id."""
    tags = {**run.tags, cache_key.CACHE_KEY: cache_key.run_key(run, digest), "attempt": "1"}
    with suppress(Stop, ValueError), store.run("a run", {"steps": 10}, tags, parent) as recorder:
        recorder.metrics(5, {"a": 0.5})
        if end:
            raise end
    return recorder.run_id


@pytest.fixture
def sweep(store: Store):
    """A sweep with one run finished, one failed, one stopped, and one not started."""
    ends = {"naive 0": None, "filtering 0": ValueError("no"), "naive 1": Stop()}
    with stopped(store, "interrupted", {"kind": "sweep", CONFIG: CONFIGURATION.model_dump_json()}) as parent:
        ids = {name: record(store, parent.run_id, RUNS[name], end) for name, end in ends.items()}
    yield parent.run_id, ids
    store.client.delete_run(parent.run_id)


def planned(store: Store, sweep: str, digest: str = DIGEST, **options: bool) -> dict[str, list]:
    made = plan.make_plan(store, CONFIGURATION, RunOptions(resume=sweep, **options), digest)
    return {
        "resume": sorted((name(todo.config), todo.resume_id, todo.attempt) for todo in made.todo if todo.resume_id),
        "start": sorted((name(todo.config), todo.attempt) for todo in made.todo if not todo.resume_id),
        "finished": list(map(name, made.finished)),
        "left": list(map(name, made.left)),
    }


def test_finished_runs_are_kept_and_the_rest_is_resumed_or_started(store, sweep):
    run_id, ids = sweep
    assert planned(store, run_id) == {
        "resume": [("filtering 0", ids["filtering 0"], 2), ("naive 1", ids["naive 1"], 2)],
        "start": [("filtering 1", 1)],
        "finished": ["naive 0"],
        "left": [],
    }


def test_only_failed_trains_only_the_failed_runs(store, sweep):
    run_id, ids = sweep
    assert planned(store, run_id, only_failed=True) == {
        "resume": [("filtering 0", ids["filtering 0"], 2)],
        "start": [],
        "finished": ["naive 0"],
        "left": ["naive 1", "filtering 1"],
    }


@pytest.mark.parametrize("options", [{"force": True}, {"digest": "other code"}])
def test_every_run_is_trained_again_with_force_or_other_code(store, sweep, options):
    all_runs = [("filtering 0", 2), ("filtering 1", 1), ("naive 0", 2), ("naive 1", 2)]
    assert planned(store, sweep[0], **options) == {"resume": [], "start": all_runs, "finished": [], "left": []}


def test_a_forced_sweep_copies_no_run(store, sweep):
    for options in (RunOptions(force=True), RunOptions(reuse=False)):
        assert not any(todo.reuse for todo in plan.make_plan(store, CONFIGURATION, options, DIGEST).todo)
    assert all(todo.reuse for todo in plan.make_plan(store, CONFIGURATION, RunOptions(), DIGEST).todo)


def test_the_newest_unfinished_sweep_is_resumed_with_its_settings(store, sweep):
    found = plan.find_unfinished(store, "")
    assert found.info.run_id == sweep[0]
    assert plan.stored_config(found) == CONFIGURATION
    assert plan.find_unfinished(store, "interrupted").info.run_id == sweep[0]


def test_a_sweep_of_another_machine_is_resumed_only_by_name(store):
    running = store.client.create_run(store.experiment, tags={"kind": "sweep", "host": "another"}, run_name="far")
    with pytest.raises(UserError, match="far is recorded as running on another; if it is not running, name it"):
        plan.find_unfinished(store, "")
    assert plan.find_unfinished(store, "far").info.run_id == running.info.run_id
    store.client.delete_run(running.info.run_id)


@pytest.fixture(scope="module")
def quiet_store(tmp_path_factory) -> Store:
    """A store without the sweeps that other tests leave unfinished."""
    root = tmp_path_factory.mktemp("quiet")
    return Store(Project(root, root / "mlruns"))


def test_a_finished_sweep_cannot_be_resumed(quiet_store):
    with quiet_store.run("complete", {}, {"kind": "sweep", CONFIG: CONFIGURATION.model_dump_json()}) as made:
        for run in RUNS.values():
            record(quiet_store, made.run_id, run, None)
    with pytest.raises(UserError, match="nothing to resume: every sweep in"):
        plan.find_unfinished(quiet_store, "")
    with pytest.raises(UserError, match="sweep complete is finished: nothing to resume"):
        plan.find_unfinished(quiet_store, made.run_id)


@pytest.mark.parametrize("name", ["", "all done"])
def test_a_deleted_run_is_counted_as_missing_and_trained_again(quiet_store, name):
    store = quiet_store
    with store.run("all done", {}, {"kind": "sweep", CONFIG: CONFIGURATION.model_dump_json()}) as parent:
        ids = [record(store, parent.run_id, run, None) for run in RUNS.values()]
    store.client.delete_run(ids[1])
    sweep = plan.find_unfinished(store, name)
    assert sweep.info.run_id == parent.run_id
    planned = plan.make_plan(store, CONFIGURATION, RunOptions(resume=parent.run_id), DIGEST)
    assert [todo.config for todo in planned.todo] == [list(RUNS.values())[1]]
    assert len(planned.finished) == len(RUNS) - 1
    (line,) = [line for line in list_entries(store, None, Filters()) if line["id"] == parent.run_id]
    assert line["runs"] == "3/4"
    store.client.restore_run(ids[1])
    with pytest.raises(UserError, match="nothing to resume"):
        plan.find_unfinished(store, name)


def test_settings_of_another_version_are_rejected(store):
    with store.run("old", {}, {"kind": "sweep", CONFIG: '{"no": "such"}'}) as made:
        pass
    with pytest.raises(UserError, match="sweep old was made by another version"):
        plan.stored_config(store.client.get_run(made.run_id))


def test_a_resumed_run_keeps_its_record_and_writes_nothing_twice(store):
    with stopped(store, "run", {}) as first:
        first.metrics(1, {"a": 0.1})
        first.metrics(2, {"a": 0.2})
    with store.run("run", {"steps": 11, "new": 1}, {"attempt": "2"}, resume_id=first.run_id) as second:
        assert store.client.get_run(first.run_id).info.status == "RUNNING"
        for step in (1, 2, 3):
            second.metrics(step, {"a": step / 10})
    run = store.client.get_run(first.run_id)
    assert (second.run_id, second.folder) == (first.run_id, first.folder)
    assert (run.info.status, run.data.params) == ("FINISHED", {"steps": "10", "new": "1"})
    assert (run.data.tags["earlier_error"], run.data.tags["attempt"], "error" in run.data.tags) == (
        "stopped",
        "2",
        False,
    )
    assert [point.step for point in store.client.get_metric_history(first.run_id, "a")] == [1, 2, 3]


def test_an_equal_run_is_copied_with_the_originals_id(store):
    run = TrainConfig(seed=7)
    original = record(store, "", run, None)
    folder = store.folder(store.client.get_run(original))
    (folder / "agent.zip").write_bytes(b"weights")
    (folder / "model").mkdir()
    found = reuse.find_equal_run(store, cache_key.run_key(run, DIGEST))
    for _ in range(2):  # the second finds the original too, not its copy
        with store.run("copy", {}, {**run.tags, cache_key.CACHE_KEY: cache_key.run_key(run, DIGEST)}) as made:
            reuse.copy_run(store, found, made)
        copied = store.client.get_run(made.run_id).data
        assert copied.tags["reused_from"] == original
        assert (copied.params, copied.metrics) == ({"steps": "10"}, {"a": 0.5})
        assert [file.name for file in made.folder.iterdir()] == ["agent.zip"]
        found = reuse.find_equal_run(store, cache_key.run_key(run, DIGEST))


def test_a_failed_different_or_deleted_run_is_not_reused(store):
    failed = TrainConfig(seed=8)
    record(store, "", failed, ValueError("no"))
    assert reuse.find_equal_run(store, cache_key.run_key(failed, DIGEST)) is None
    assert reuse.find_equal_run(store, cache_key.run_key(TrainConfig(seed=7), "other code")) is None
    lost = TrainConfig(seed=9)
    folder = store.folder(store.client.get_run(record(store, "", lost, None)))
    assert reuse.find_equal_run(store, cache_key.run_key(lost, DIGEST)) is not None
    folder.rmdir()
    assert reuse.find_equal_run(store, cache_key.run_key(lost, DIGEST)) is None


def test_the_key_depends_on_settings_source_and_trainer(tmp_path, monkeypatch):
    (tmp_path / "my_world.py").write_text("size = 1\n")
    monkeypatch.syspath_prepend(tmp_path)

    def key(env: str = "my_world:mine/World-v0", trainer: str = "flows.running.train:run", **settings) -> str:
        return cache_key.run_key(TrainConfig(env=env, **settings), cache_key.code_digest(env, trainer))

    first = key()
    assert key() == first
    assert len({first, key(seed=1), key(trainer="flows.running.train:other"), key(env="keyhole/TMaze-v0")}) == 4
    (tmp_path / "my_world.py").write_text("size = 2\n")
    assert key() != first


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--resume", "--steps", "5"], "--resume uses the sweep's own settings; leave out --steps"),
        (["--resume", "--set", "size=3"], "leave out --set"),
        (["--only-failed"], "pass --resume with it"),
        (["--resume"], "no runs in"),
    ],
)
def test_an_invalid_resume_is_rejected_with_one_line(keyhole, words, message):
    code, _, err = keyhole("compare", *words)
    assert code == 2
    assert message in err
    assert err.count("\n") == 1


LOCKS = """
import sqlite3, sys, time
database = sqlite3.connect(sys.argv[1], isolation_level=None)
database.execute("BEGIN EXCLUSIVE")
print("locked", flush=True)
time.sleep(float(sys.argv[2]))
"""


def locked(database: Path, seconds: float) -> subprocess.Popen:
    """Starts a process that locks the database for some seconds."""
    process = subprocess.Popen([sys.executable, "-c", LOCKS, str(database), str(seconds)], stdout=-1, text=True)
    assert process.stdout.readline() == "locked\n"
    return process


@pytest.mark.slow
def test_runs_survive_a_database_that_is_locked_for_half_a_minute(store):
    with store.run("patient", {"steps": 1}, {}) as made:
        start = time.monotonic()
        holder = locked(store.project.database, 30)
        made.metrics(1, {"a": 1.0})
        made.flush()
        assert time.monotonic() - start > 25
        holder.communicate()
    run = store.client.get_run(made.run_id)
    assert (run.info.status, run.data.metrics) == ("FINISHED", {"a": 1.0})


def test_reading_the_store_leaves_its_journal_in_place(store):
    look = textwrap.dedent("""
        import sqlite3, sys
        print(sqlite3.connect(sys.argv[1]).execute("SELECT count(*) > 0 FROM runs").fetchone()[0])
    """)
    with store.run("watched", {}, {}) as made:
        check_writable(store.project)  # as at the start of a sweep
        subprocess.run([sys.executable, "-c", look, str(store.project.database)], check=True, capture_output=True)
        journal = store.project.database.with_name("mlflow.db-wal")
        assert journal.exists()
        made.metrics(1, {"a": 1.0})
        made.flush()
    with sqlite3.connect(store.project.database) as database:
        assert database.execute("SELECT count(*) FROM metrics WHERE run_uuid = ?", (made.run_id,)).fetchone() == (1,)
