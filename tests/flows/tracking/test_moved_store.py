"""A store can be copied, moved, and read without write access; what is wrong with a database is a one-line error."""

import os
import shutil
import sqlite3
import stat
import subprocess
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import pytest

from flows.errors import UserError
from flows.project import Project
from flows.sweep.finalize import finalize
from flows.tracking import local_database, model_registry, results
from flows.tracking.certificates import PREFIX, references
from flows.tracking.missing import Missing
from flows.tracking.process_owner import owner_tags
from flows.tracking.store import EXPERIMENT, Store
from tests.flows.reporting.test_report import train

GONE = "/gone/mlruns/artifacts"


@pytest.fixture(scope="module")
def original(store) -> tuple[Store, str]:
    """A store with one finished sweep."""
    with store.run("moves", {"env": "envs:keyhole/TMaze-v0"}, {"kind": "sweep"}) as parent:
        train(store, parent.run_id, 0)
    finalize(store, parent.run_id, Missing())
    return store, parent.run_id


@pytest.fixture
def copy(original, tmp_path) -> Store:
    """A copy of the store in another folder, not opened yet."""
    mlruns = tmp_path / "elsewhere" / "mlruns"
    mlruns.parent.mkdir()
    subprocess.run(["cp", "-r", original[0].project.mlruns, mlruns], check=True)  # in this process it would end locks
    return Store(Project(tmp_path, mlruns))


def execute(store: Store, statement: str, *values) -> list[tuple]:
    with closing(sqlite3.connect(store.project.database)) as connection, connection:
        return connection.execute(statement, values).fetchall()


def paths(store: Store) -> set[str]:
    """Every absolute path in the database."""
    columns = [f"SELECT {column} FROM {table}" for table, column in local_database.LOCATIONS]
    return {path for (path,) in execute(store, " UNION ".join(columns)) if path and path.startswith("/")}


def leave(store: Store, old: Path) -> None:
    """Make the database's paths those of a folder that is gone, as after `mv`."""
    for table, column in local_database.LOCATIONS:
        execute(store, f"UPDATE {table} SET {column} = replace({column}, ?, ?)", str(old), GONE)
    execute(store, "UPDATE runs SET status = 'KILLED' WHERE status = 'RUNNING'")


def test_a_copy_is_read_from_its_own_folder_and_takes_new_runs_there(original, copy, capsys):
    store, sweep = original
    found = results.read_results(copy, sweep)
    assert found.folder == copy.project.artifacts / sweep / "artifacts"
    assert (found.folder / "report.html").exists()
    with copy.run("new", {}, {}) as record:
        (record.folder / "agent.zip").write_bytes(b"weights")
    run = copy.client.get_run(record.run_id)
    assert run.info.status == "FINISHED"
    assert Path(run.info.artifact_uri) == record.folder == copy.project.artifacts / record.run_id / "artifacts"
    assert copy.client.get_experiment(copy.experiment).artifact_location == str(store.project.artifacts)
    assert capsys.readouterr().err == ""


def test_a_moved_store_is_rerooted_with_one_line(original, copy, capsys):
    store, sweep = original
    leave(copy, store.project.artifacts)
    assert results.read_results(copy, sweep).folder.is_relative_to(copy.project.artifacts)
    assert str(copy.project.artifacts / sweep / "artifacts") in paths(copy)
    assert not [path for path in paths(copy) if path.startswith(GONE)]
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert f"the store has moved: paths in its database now start with {copy.project.artifacts}, not {GONE}" in err
    assert Store(copy.project).experiment
    assert capsys.readouterr().err == ""


def test_a_registered_model_is_found_in_a_moved_store(original, copy):
    store, _ = original
    name = "keyhole-moved-naive"
    run = store.client.search_runs([store.experiment], "tags.kind = 'run' and attributes.status = 'FINISHED'")[0]
    shutil.copytree(store.folder(run), copy.project.artifacts / run.info.run_id / "artifacts", dirs_exist_ok=True)
    leave(copy, store.project.artifacts)
    source = copy.project.artifacts / run.info.run_id / "artifacts" / "model"
    copy.client.create_registered_model(name)
    copy.client.create_model_version(name, str(source), run.info.run_id)
    assert model_registry.find_model(copy, name) == source / "agent.zip"


@pytest.mark.parametrize("alive", [True, None])
def test_a_store_with_a_run_that_may_be_alive_is_not_rerooted(original, copy, alive):
    leave(copy, original[0].project.artifacts)
    run_id = execute(copy, "SELECT run_uuid FROM runs LIMIT 1")[0][0]
    execute(copy, "UPDATE runs SET status = 'RUNNING' WHERE run_uuid = ?", run_id)
    args = (copy.project.database, copy.project.artifacts, EXPERIMENT)
    assert local_database.reroot(*args, lambda tags: alive) is None
    assert {path for path in paths(copy) if path.startswith(GONE)}
    assert local_database.reroot(*args, lambda tags: False) == GONE


def test_a_store_in_use_is_not_rerooted(original, copy):
    leave(copy, original[0].project.artifacts)
    with closing(sqlite3.connect(copy.project.database, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        assert (
            local_database.reroot(copy.project.database, copy.project.artifacts, EXPERIMENT, lambda tags: False) is None
        )
    assert {path for path in paths(copy) if path.startswith(GONE)}


def test_a_path_that_only_starts_like_the_old_folder_is_left_alone(original, copy):
    leave(copy, original[0].project.artifacts)
    run_id = execute(copy, "SELECT run_uuid FROM runs LIMIT 1")[0][0]
    execute(copy, "UPDATE runs SET artifact_uri = ? WHERE run_uuid = ?", f"{GONE}-2/x", run_id)
    assert copy.experiment
    assert f"{GONE}-2/x" in paths(copy)


def test_a_store_without_write_access_can_be_read_and_stays_as_it_is(original, copy, monkeypatch):
    leave(copy, original[0].project.artifacts)
    before = copy.project.database.read_bytes()
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK)
    found = results.read_results(copy, original[1])
    assert (len(found.finished), (found.folder / "report.html").exists()) == (1, True)
    assert copy.project.database.read_bytes() == before


@pytest.mark.parametrize("run_id", ["../..", "/etc", "link"])
def test_a_run_whose_folder_is_outside_the_store_is_refused(store, tmp_path, run_id):
    link = store.project.artifacts / "link"
    if not link.is_symlink():
        link.symlink_to(tmp_path)
    with pytest.raises(UserError, match="is not in"):
        store.folder(SimpleNamespace(info=SimpleNamespace(run_id=run_id, artifact_uri="")))


def test_files_that_are_only_in_another_store_are_refused(store, tmp_path):
    info = SimpleNamespace(run_id="0" * 32, artifact_uri=str(tmp_path))
    with pytest.raises(UserError, match="pass --mlruns DIR of the store it belongs to"):
        store.folder(SimpleNamespace(info=info))


def test_a_deleted_experiment_is_one_line_that_names_how_to_restore_it(copy):
    copy.client.delete_experiment(copy.experiment)
    with pytest.raises(UserError, match=r"is deleted; restore it with .*mlflow experiments restore --experiment-id 1"):
        assert Store(copy.project).experiment
    copy.client.restore_experiment("1")
    assert Store(copy.project).experiment == "1"


def test_a_damaged_database_is_one_line(copy):
    copy.project.database.write_bytes(b"no database" * 1000)
    with pytest.raises(UserError, match=r"mlflow.db is damaged .* restore a backup"):
        assert copy.experiment


def test_a_database_with_damaged_pages_is_one_line(original, copy):
    execute(copy, "PRAGMA wal_checkpoint(TRUNCATE)")
    size = copy.project.database.stat().st_size
    with copy.project.database.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * (size - 4096))
    with pytest.raises(UserError, match=r"is damaged"):
        results.read_results(copy, original[1])


@pytest.mark.parametrize(
    ("revision", "message"),
    [("451aebb31d03", "older version of MLflow; back it up, then run `mlflow db upgrade sqlite:///"), ("f00", "newer")],
)
def test_a_database_of_another_mlflow_is_one_line_and_is_not_changed(copy, revision, message):
    execute(copy, "UPDATE alembic_version SET version_num = ?", revision)
    with pytest.raises(UserError, match=message):
        assert copy.experiment
    assert execute(copy, "SELECT version_num FROM alembic_version") == [(revision,)]


def test_another_programs_database_is_refused(tmp_path):
    project = Project(tmp_path, tmp_path)
    with closing(sqlite3.connect(project.database)) as connection:
        connection.execute("CREATE TABLE songs (name TEXT)")
    with pytest.raises(UserError, match="is not an MLflow database"):
        assert Store(project).experiment


def test_a_new_database_can_be_read_by_its_owner_alone(store):
    assert stat.S_IMODE(store.project.database.stat().st_mode) == 0o600


@pytest.mark.parametrize("change", ["missing", "unknown", "no number", "no level"])
def test_certificates_of_another_version_are_read_as_far_as_possible(change):
    known = {
        f"{PREFIX}{level}.{name}": "0.5"
        for level in ("0.1", "0.3")
        for name in (
            "optimal_return", "enforceable_return", "enforceable_return_uniform_ties", "naive_optimum_return",
            "enforceable_is_exact",
        )
    }  # fmt: skip
    if change == "missing":
        del known[f"{PREFIX}0.1.naive_optimum_return"]
    changes = {"unknown": {f"{PREFIX}0.3.new_field": "text"}, "no number": {f"{PREFIX}0.1.optimal_return": "n/a"}}
    changes |= {"no level": {f"{PREFIX}version": "2"}}
    levels = references({**known, **changes.get(change, {})})
    assert {level.position for level in levels} == ({0.3} if change in ("missing", "no number") else {0.1, 0.3})


@pytest.mark.parametrize("name", ["MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI", "MLFLOW_REGISTRY_STORE_URI"])
def test_addresses_in_the_shell_do_not_redirect_runs_or_models(copy, monkeypatch, name, tmp_path):
    monkeypatch.setenv(name, f"sqlite:///{tmp_path}/foreign.db")
    with copy.run("own", {}, {}) as record:
        pass
    copy.client.create_registered_model("keyhole-own")
    assert execute(copy, "SELECT count(*) FROM registered_models WHERE name = 'keyhole-own'") == [(1,)]
    assert record.run_id in {run for (run,) in execute(copy, "SELECT run_uuid FROM runs")}
    assert not (tmp_path / "foreign.db").exists()
    assert name not in os.environ


def test_credentials_and_timeouts_in_the_shell_are_kept(copy, monkeypatch):
    kept = {
        "MLFLOW_TRACKING_USERNAME": "me", "MLFLOW_TRACKING_PASSWORD": "secret", "MLFLOW_S3_ENDPOINT_URL": "http://s3",
        "MLFLOW_HTTP_REQUEST_TIMEOUT": "7", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3", "MLFLOW_LOGGING_LEVEL": "ERROR",
    }  # fmt: skip
    for name, value in kept.items():
        monkeypatch.setenv(name, value)
    assert copy.experiment
    assert kept.items() <= os.environ.items()


def test_a_run_of_a_living_process_keeps_a_moved_store_as_it_is(original, copy):
    leave(copy, original[0].project.artifacts)
    run_id = execute(copy, "SELECT run_uuid FROM runs LIMIT 1")[0][0]
    execute(copy, "UPDATE runs SET status = 'RUNNING' WHERE run_uuid = ?", run_id)
    execute(copy, "DELETE FROM tags WHERE run_uuid = ?", run_id)
    for key, value in owner_tags().items():
        execute(copy, "INSERT INTO tags (key, value, run_uuid) VALUES (?, ?, ?)", key, value, run_id)
    assert copy.experiment
    assert {path for path in paths(copy) if path.startswith(GONE)}
