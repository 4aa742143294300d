"""Artifact addresses: files are uploaded when a run ends, downloaded completely, and belong to one store."""

import threading
from base64 import b64encode
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from flows.errors import UserError
from flows.project import ARTIFACTS, Project, current_project
from flows.tracking import archive
from flows.tracking.artifact_store import PACKAGES
from flows.tracking.database import check_database, database_uri, without_password
from flows.tracking.store import Store


@pytest.fixture(scope="module")
def shared(tmp_path_factory) -> Store:
    """A store that uploads its runs' files to an address."""
    root = tmp_path_factory.mktemp("project")
    return Store(Project(root, root / "mlruns", artifact_uri=(root / "elsewhere").as_uri()))


def test_a_runs_files_are_uploaded_when_it_ends_and_downloaded_where_they_are_missing(shared):
    with shared.run("run", {}, {}) as record:
        (record.folder / "agent.zip").write_bytes(b"weights")
        assert not list((shared.project.root / "elsewhere").rglob("agent.zip"))
    run = shared.client.get_run(record.run_id)
    assert [file.path for file in shared.client.list_artifacts(record.run_id)] == ["agent.zip"]
    (record.folder / "agent.zip").unlink()
    record.folder.rmdir()
    assert (shared.folder(run) / "agent.zip").read_bytes() == b"weights"
    assert shared.artifacts.source(run.info, shared.folder(run) / "model") == f"{run.info.artifact_uri}/model"


def test_the_traceback_of_a_failed_run_is_uploaded(shared):
    with pytest.raises(ValueError, match="no sense"), shared.run("run", {}, {}) as record:
        raise ValueError("no sense")
    assert [file.path for file in shared.client.list_artifacts(record.run_id)] == ["error.txt"]


def test_a_run_whose_upload_fails_has_failed_and_keeps_its_files(shared, monkeypatch):
    def refuse(*_):
        raise OSError("no space at the address")

    monkeypatch.setattr(shared.artifacts, "upload", refuse)
    with pytest.raises(OSError, match="no space"), shared.run("run", {}, {}) as record:
        (record.folder / "agent.zip").write_bytes(b"weights")
    assert shared.client.get_run(record.run_id).info.status == "FAILED"
    assert (record.folder / "agent.zip").exists()


def failing_repository(monkeypatch, *errors: str) -> list[str]:
    """Lets MLflow's access to an address fail with these errors, then succeed; returns the addresses of its calls."""
    left, addresses = iter(errors), []

    class Repository:
        def __init__(self, address: str) -> None:
            self.address = address

        def delete_artifacts(self) -> None:
            addresses.append(self.address)
            if error := next(left, ""):
                raise ConnectionError(error)

    monkeypatch.setattr("mlflow.store.artifact.artifact_repository_registry.get_artifact_repository", Repository)
    return addresses


def test_files_at_an_address_are_deleted_when_it_answers_again(shared, monkeypatch, capsys):
    with shared.run("run", {}, {}) as record:
        pass
    info = shared.client.get_run(record.run_id).info
    addresses = failing_repository(monkeypatch, 'Could not connect to the endpoint URL: "http://s3"')
    shared.artifacts.delete(info)
    assert addresses == [info.artifact_uri] * 2
    assert "elsewhere does not answer; waiting up to 120 s" in capsys.readouterr().err
    assert not record.folder.exists()


@pytest.mark.parametrize(
    ("error", "message"),
    [
        ("(AccessDenied) when calling DeleteObjects", "cannot delete the files of run {}"),
        ('Could not connect to the endpoint URL: "http://s3"', "elsewhere does not answer"),
    ],
)
def test_files_at_an_address_that_cannot_be_deleted_are_one_line_and_the_run_stays(shared, monkeypatch, error, message):
    with shared.run("run", {}, {"kind": "sweep"}) as record:
        pass
    monkeypatch.setattr("flows.tracking.client.RETRY_SECONDS", 0.3)
    failing_repository(monkeypatch, *[error] * 99)
    with pytest.raises(UserError, match=message.format(record.run_id)) as refused:
        archive.delete_runs(shared, record.run_id)
    assert "\n" not in str(refused.value)
    assert shared.client.get_run(record.run_id).info.status == "FINISHED"
    assert record.folder.exists()


def test_a_store_refuses_another_artifact_address_than_its_own(shared):
    assert shared.experiment
    project = Project(shared.project.root, shared.project.mlruns, artifact_uri="s3://another/place")
    with pytest.raises(UserError, match="this store keeps its runs' files in"):
        assert Store(project).artifacts


def test_a_relative_folder_becomes_a_file_address(checkout, monkeypatch):
    monkeypatch.setenv(ARTIFACTS, "shared/files")
    assert current_project().artifact_uri == (checkout / "shared" / "files").as_uri()


@pytest.mark.parametrize(
    ("address", "uri"),
    [
        ("postgresql://me:secret@db/keyhole", "postgresql+psycopg://me:secret@db/keyhole"),
        ("postgres://db/keyhole", "postgresql+psycopg://db/keyhole"),
        ("postgresql+psycopg2://db/keyhole", "postgresql+psycopg2://db/keyhole"),
        ("http://tracking:5000", "http://tracking:5000"),
    ],
)
def test_a_postgresql_address_gets_the_driver_that_the_extra_installs(address, uri):
    assert database_uri(address) == uri


def test_an_address_is_shown_without_its_password():
    assert without_password("postgresql://me:secret@db/keyhole") == "postgresql://me:***@db/keyhole"


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("keyhole.db", "write --store postgresql://user:password@host:5432/name"),
        ("mysql://me:secret@db/keyhole", "--store: found 'mysql://me:***@db/keyhole'"),
        (
            "postgresql://me:secret@127.0.0.1:1/keyhole",
            "postgresql+psycopg://me:***@127.0.0.1:1/keyhole does not answer",
        ),
        ("http://127.0.0.1:1", "http://127.0.0.1:1 does not answer"),
    ],
)
def test_a_database_that_cannot_be_used_is_a_one_line_error(keyhole, address, message):
    if address.startswith("postgresql"):
        pytest.importorskip("psycopg")
    code, _, err = keyhole("compare", "--store", address)
    assert (code, err.count("\n")) == (2, 1)
    assert message in err
    assert "secret" not in err


def test_an_address_whose_package_is_missing_is_a_one_line_error(keyhole, monkeypatch):
    monkeypatch.setitem(PACKAGES, "s3", "no_such_package")
    code, _, err = keyhole("compare", "--artifacts", "s3://keyhole/runs")
    assert (code, err) == (
        2, "keyhole: --artifacts s3://keyhole/runs: no_such_package is not installed; pip install 'keyhole[s3]'\n"
    )  # fmt: skip


class Guarded(BaseHTTPRequestHandler):
    """Answers requests with the right user and password only."""

    def do_GET(self) -> None:
        known = f"Basic {b64encode(b'me:s3cr:et').decode()}"
        self.send_response(200 if self.headers.get("Authorization") == known and self.path == "/health" else 401)
        self.end_headers()

    def log_message(self, *_) -> None: ...


@pytest.fixture
def guarded():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Guarded)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_a_server_is_reached_with_the_user_and_password_of_its_address(guarded):
    check_database(f"http://me:s3cr%3Aet@{guarded}")
    with pytest.raises(UserError, match="does not answer") as refused:
        check_database(f"http://me:wrong@{guarded}/")
    assert "wrong" not in str(refused.value)


@pytest.mark.parametrize(
    "address",
    [
        "http://me:secret@127.0.0.1:1", "http://me:secret@host:port", "postgresql://me:secret@[::1/keyhole",
        "mysql://me:secret@x@host/db", "http://me:se/cret@host", "me:secret@host",
    ],
)  # fmt: skip
def test_no_address_shows_its_password_even_one_with_a_mistake(address):
    assert "cret" not in without_password(address)
    with pytest.raises(UserError) as refused:
        check_database(address)
    assert "cret" not in str(refused.value)
