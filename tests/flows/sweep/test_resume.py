"""What of a sweep is done again, what goes on, what is left alone; and that a run which goes on says nothing twice."""

import sqlite3
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from flows.config import CompareConfig, TrainConfig
from flows.errors import UserError
from flows.sweep import plan
from flows.sweep.plan import RunOptions
from flows.tracking import cache_key, reuse
from flows.tracking.access import check_writable
from flows.tracking.provenance import run_tags
from flows.tracking.recorder import RunRecorder
from flows.tracking.store import CONFIG, Store

CONFIGURATION = CompareConfig(methods=("naive", "filtering"), oversight=(0.1,), seeds=2, steps=10)
AROUND = "code"


def name(run: TrainConfig) -> str:
    return f"{run.method} {run.seed}"


RUNS = {name(run): run for run in CONFIGURATION.runs()}


class Stop(BaseException):
    """As Ctrl-C: it is not the run's fault."""


@contextmanager
def stopped(store: Store, title: str, tags: dict[str, str]) -> Iterator[RunRecorder]:
    """A run that is stopped at the end of the block."""
    with suppress(Stop), store.run(title, {"steps": 10}, tags) as made:
        yield made
        raise Stop


def record(store: Store, parent: str, run: TrainConfig, end: BaseException | None, around: str = AROUND) -> str:
    """An MLflow run of the sweep that ended so; None: well."""
    tags = {**run_tags(run), cache_key.CACHE_KEY: cache_key.run_key(run, around), "attempt": "1"}
    with suppress(Stop, ValueError), store.run("a run", {"steps": 10}, tags, parent) as made:
        made.metrics(5, {"a": 0.5})
        if end:
            raise end
    return made.run_id


@pytest.fixture
def sweep(store: Store):
    """A sweep with one run that is finished, one that failed, one that was stopped, and one that was not begun."""
    ends = {"naive 0": None, "filtering 0": ValueError("no"), "naive 1": Stop()}
    with stopped(store, "interrupted", {"kind": "sweep", CONFIG: CONFIGURATION.model_dump_json()}) as made:
        ids = {name: record(store, made.run_id, RUNS[name], end) for name, end in ends.items()}
    yield made.run_id, ids
    store.client.delete_run(made.run_id)


def decided(store: Store, sweep: str, around: str = AROUND, **wish: bool) -> dict[str, list]:
    made = plan.make_plan(store, CONFIGURATION, RunOptions(resume=sweep, **wish), around)
    return {
        "go on": sorted((name(todo.config), todo.resume_id, todo.attempt) for todo in made.todo if todo.resume_id),
        "begin": sorted((name(todo.config), todo.attempt) for todo in made.todo if not todo.resume_id),
        "finished": list(map(name, made.finished)),
        "left": list(map(name, made.left)),
    }


def test_what_is_finished_stays_and_the_rest_goes_on(store, sweep):
    run_id, ids = sweep
    assert decided(store, run_id) == {
        "go on": [("filtering 0", ids["filtering 0"], 2), ("naive 1", ids["naive 1"], 2)],
        "begin": [("filtering 1", 1)],
        "finished": ["naive 0"],
        "left": [],
    }


def test_only_what_failed_is_run_if_that_is_the_wish(store, sweep):
    run_id, ids = sweep
    assert decided(store, run_id, only_failed=True) == {
        "go on": [("filtering 0", ids["filtering 0"], 2)],
        "begin": [],
        "finished": ["naive 0"],
        "left": ["naive 1", "filtering 1"],
    }


@pytest.mark.parametrize("how", [{"force": True}, {"around": "other code"}])
def test_all_is_done_anew_by_force_or_when_code_or_libraries_have_changed(store, sweep, how):
    anew = [("filtering 0", 2), ("filtering 1", 1), ("naive 0", 2), ("naive 1", 2)]
    assert decided(store, sweep[0], **how) == {"go on": [], "begin": anew, "finished": [], "left": []}


def test_the_newest_unfinished_sweep_is_the_one_to_go_on_with_and_brings_its_settings(store, sweep):
    found = plan.find_unfinished(store, "")
    assert found.info.run_id == sweep[0]
    assert plan.stored_config(found) == CONFIGURATION
    assert plan.find_unfinished(store, "interrupted").info.run_id == sweep[0]


def test_a_sweep_of_another_machine_goes_on_only_by_its_name(store):
    running = store.client.create_run(store.experiment, tags={"kind": "sweep", "host": "another"}, run_name="far")
    with pytest.raises(UserError, match="far runs on another as far as is known; if it does not, name it"):
        plan.find_unfinished(store, "")
    assert plan.find_unfinished(store, "far").info.run_id == running.info.run_id
    store.client.delete_run(running.info.run_id)


def test_a_finished_sweep_is_said_to_be_finished(store):
    with store.run("complete", {}, {"kind": "sweep"}) as made:
        pass
    with pytest.raises(UserError, match="nothing to resume: every sweep in"):
        plan.find_unfinished(store, "")
    with pytest.raises(UserError, match="sweep complete is finished: nothing to resume"):
        plan.find_unfinished(store, made.run_id)


def test_settings_that_this_version_cannot_read_are_a_mistake_of_one_line(store):
    with store.run("old", {}, {"kind": "sweep", CONFIG: '{"no": "such"}'}) as made:
        pass
    with pytest.raises(UserError, match="sweep old was made by another version"):
        plan.stored_config(store.client.get_run(made.run_id))


def test_a_run_that_goes_on_keeps_its_record_and_says_nothing_twice(store):
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


def test_a_twin_is_copied_and_named(store):
    run = TrainConfig(seed=7)
    original = record(store, "", run, None)
    folder = store.folder(store.client.get_run(original))
    (folder / "agent.zip").write_bytes(b"weights")
    (folder / "model").mkdir()
    found = reuse.find_equal_run(store, cache_key.run_key(run, AROUND))
    for _ in range(2):  # the second finds the original too, not its copy
        with store.run("copy", {}, {**run_tags(run), cache_key.CACHE_KEY: cache_key.run_key(run, AROUND)}) as made:
            reuse.copy_run(store, found, made)
        copied = store.client.get_run(made.run_id).data
        assert copied.tags["reused_from"] == original
        assert (copied.params, copied.metrics) == ({"steps": "10"}, {"a": 0.5})
        assert [file.name for file in made.folder.iterdir()] == ["agent.zip"]
        found = reuse.find_equal_run(store, cache_key.run_key(run, AROUND))


def test_no_other_run_is_a_twin(store):
    failed = TrainConfig(seed=8)
    record(store, "", failed, ValueError("no"))
    assert reuse.find_equal_run(store, cache_key.run_key(failed, AROUND)) is None
    assert reuse.find_equal_run(store, cache_key.run_key(TrainConfig(seed=7), "other code")) is None
    lost = TrainConfig(seed=9)
    folder = store.folder(store.client.get_run(record(store, "", lost, None)))
    assert reuse.find_equal_run(store, cache_key.run_key(lost, AROUND)) is not None
    folder.rmdir()
    assert reuse.find_equal_run(store, cache_key.run_key(lost, AROUND)) is None


def test_the_key_follows_settings_source_and_trainer(tmp_path, monkeypatch):
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
    ("words", "complaint"),
    [
        (["--resume", "--steps", "5"], "--resume takes the sweep's own settings; leave out --steps"),
        (["--resume", "--set", "size=3"], "leave out --set"),
        (["--only-failed"], "pass --resume with it"),
        (["--resume"], "no runs in"),
    ],
)
def test_what_cannot_be_resumed_is_said_in_one_line(keyhole, words, complaint):
    code, _, err = keyhole("compare", *words)
    assert code == 2
    assert complaint in err
    assert err.count("\n") == 1


LOCKS = """
import sqlite3, sys, time
database = sqlite3.connect(sys.argv[1], isolation_level=None)
database.execute("BEGIN EXCLUSIVE")
print("locked", flush=True)
time.sleep(float(sys.argv[2]))
"""


def locked(database: Path, seconds: float) -> subprocess.Popen:
    """Another process that holds the database for itself."""
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


def test_one_who_looks_at_the_store_does_not_take_its_journal_away(store):
    look = textwrap.dedent("""
        import sqlite3, sys
        print(sqlite3.connect(sys.argv[1]).execute("SELECT count(*) > 0 FROM runs").fetchone()[0])
    """)
    with store.run("watched", {}, {}) as made:
        check_writable(store.project)  # as at the beginning of a sweep
        subprocess.run([sys.executable, "-c", look, str(store.project.database)], check=True, capture_output=True)
        journal = store.project.database.with_name("mlflow.db-wal")
        assert journal.exists()
        made.metrics(1, {"a": 1.0})
        made.flush()
    with sqlite3.connect(store.project.database) as database:
        assert database.execute("SELECT count(*) FROM metrics WHERE run_uuid = ?", (made.run_id,)).fetchone() == (1,)
