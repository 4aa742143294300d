"""Commands in messages work as printed: pasted into a shell, in the directory where they were printed."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from flows.errors import UserError
from flows.project import FROM_SHELL, MLRUNS, STORE, Project
from flows.shell import mlflow_command, shell_command
from flows.text import without_password
from flows.tracking.store import Store

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent


def quoted(message: str) -> list[str]:
    """The commands in a message."""
    return re.findall(r"`([^`]+)`", message)


@pytest.fixture
def echo(tmp_path, monkeypatch):
    """Runs a shell command with programs that print their arguments and the address of the store."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("keyhole", "mlflow"):
        script = "import json, os, sys; print(json.dumps([sys.argv[1:], os.environ.get('MLFLOW_TRACKING_URI')]))"
        (folder / name).write_text(f"#!{sys.executable}\n{script}\n")
        (folder / name).chmod(0o755)

    def run(command: str) -> list:
        environ = {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}"}
        return json.loads(subprocess.run(["sh", "-c", command], env=environ, capture_output=True, check=True).stdout)

    return run


@pytest.mark.parametrize(
    ("mlruns", "store", "options"),
    [
        ("mlruns", "", []),
        ("other", "", ["--mlruns", "{root}/other"]),
        ("my runs' ü $HOME `x`;", "", ["--mlruns", "{root}/my runs' ü $HOME `x`;"]),
        ("mlruns", "http://host:5000", ["--store", "http://host:5000"]),
        ("mlruns", "postgresql://me@db/keyhole?sslmode=require&x=1", ["--store", "{store}"]),
        ("other", "http://host:5000", ["--mlruns", "{root}/other", "--store", "http://host:5000"]),
    ],
)
def test_a_command_selects_the_store_it_was_printed_for(mlruns, store, options, tmp_path, echo):
    project = Project(tmp_path, tmp_path / mlruns, store)
    (arguments, _) = echo(shell_command("compare", "--resume", "a 'sweep' $x", project=project)[1:-1])
    expected = [option.format(root=tmp_path, store=store) for option in options]
    assert arguments == ["compare", "--resume", "a 'sweep' $x", *expected]


SECRET_ADDRESSES = [
    "http://me:secret@host", "postgresql://me:secret@db/x", "http://me:secret@[::1", "postgresql://me:sec/ret@db/x",
    "postgresql://me:sec#ret@db/x", "postgresql://me:sec?ret@db/x", "postgresql://db/x?user=me&password=secret",
    "https://secret@host", "postgresql://db/x?sslpassword=secret&x=1", "postgresql://me:se:cr@et@db/x",
]  # fmt: skip


@pytest.mark.parametrize("address", SECRET_ADDRESSES)
def test_a_password_is_not_printed_and_the_message_says_what_to_add(address, tmp_path):
    project = Project(tmp_path, tmp_path / "mlruns", address)
    assert shell_command("ui", project=project) == "`keyhole ui` with the same --store"
    assert not re.search(r"sec|ret|cr@", without_password(address))
    assert mlflow_command("gc", uri=address) == "`mlflow gc` with MLFLOW_TRACKING_URI set to the store's address"


@pytest.mark.parametrize("address", ["postgresql://me@db/x", "http://host:5000", "postgresql://db/x?sslmode=require"])
def test_an_address_without_a_secret_is_printed_whole(address, tmp_path):
    assert without_password(address) == address
    assert address in shell_command("ui", project=Project(tmp_path, tmp_path / "mlruns", address))


def test_the_stores_of_the_users_shell_need_no_option_and_others_do(tmp_path, monkeypatch):
    monkeypatch.setitem(FROM_SHELL, MLRUNS, str(tmp_path / "data"))
    monkeypatch.setitem(FROM_SHELL, STORE, "http://me:secret@host")
    assert shell_command("ui", project=Project(tmp_path, tmp_path / "data", "http://me:secret@host")) == "`keyhole ui`"
    (own,) = quoted(shell_command("ui", project=Project(tmp_path, tmp_path / "mlruns")))
    assert own == f"keyhole ui --mlruns {tmp_path}/mlruns --store ''"


def test_an_address_of_mlflows_reaches_it(echo, tmp_path):
    uri = f"sqlite:///{tmp_path}/my runs/mlflow.db"
    (command,) = quoted(mlflow_command("experiments", "restore", "--experiment-id", "1", uri=uri))
    assert echo(command) == [["experiments", "restore", "--experiment-id", "1"], uri]


def test_a_program_that_is_not_on_the_path_gets_its_path(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    monkeypatch.chdir(tmp_path)
    (command,) = quoted(shell_command("methods"))
    assert command == f"{BIN}/keyhole methods"
    monkeypatch.chdir(BIN.parent.parent)
    assert quoted(shell_command("methods")) == [f"{BIN.parent.name}/bin/keyhole methods"]
    monkeypatch.chdir(BIN)
    assert quoted(shell_command("methods")) == ["./keyhole methods"]
    monkeypatch.setattr(sys, "executable", "/opt/my python/python3")
    assert quoted(shell_command("methods")) == ["'/opt/my python/python3' -m flows methods"]


def run(folder: Path, command: str) -> subprocess.CompletedProcess:
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "COLUMNS": "200"}
    return subprocess.run(["sh", "-c", command], cwd=folder, env=environ, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_a_deleted_experiment_is_restored_as_printed(tmp_path):
    project = Project(tmp_path, tmp_path / "my runs ü")
    store = Store(project)
    store.client.delete_experiment(store.experiment)
    with pytest.raises(UserError, match="is deleted") as refused:
        assert Store(project).experiment
    (command,) = quoted(str(refused.value))
    restored = run(tmp_path, command)
    assert restored.returncode == 0, restored.stderr
    assert Store(project).experiment == store.experiment


@pytest.mark.slow
def test_an_old_database_is_upgraded_as_printed(tmp_path):
    project = Project(tmp_path, tmp_path / "my runs ü")
    make_old_database(project.database)
    with pytest.raises(UserError, match="older version of MLflow") as refused:
        assert Store(project).experiment
    (command,) = quoted(str(refused.value))
    upgraded = run(tmp_path, command)
    assert upgraded.returncode == 0, upgraded.stderr
    assert Store(project).experiment


def make_old_database(path: Path) -> None:
    """An empty database with the schema before MLflow's last migration."""
    from alembic import command
    from alembic.script import ScriptDirectory
    from mlflow.store.db.utils import _get_alembic_config
    from mlflow.store.tracking.dbmodels.initial_models import Base
    from sqlalchemy import create_engine

    path.parent.mkdir()
    engine = create_engine(f"sqlite:///{path}")
    Base.metadata.create_all(engine)
    engine.dispose()
    config = _get_alembic_config(f"sqlite:///{path}")
    scripts = ScriptDirectory.from_config(config)
    command.upgrade(config, scripts.get_revision(scripts.get_current_head()).down_revision)


def test_a_command_in_a_message_is_not_written_by_hand():
    code = {path: re.sub(r'"""[\s\S]*?"""', "", path.read_text()) for path in (ROOT / "flows").rglob("*.py")}
    by_hand = [
        (path.name, match)
        for path, text in code.items()
        for match in re.findall(r"\w+ `(?:keyhole|mlflow) [^`\n]*`", text)
    ]
    mentions = {"see `keyhole methods`", "see `keyhole limits`", "of `keyhole ui`"}
    mentions |= {"until `keyhole serve`", "next `keyhole serve`"}
    assert {match for _, match in by_hand} <= mentions, by_hand
