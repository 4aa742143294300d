"""A store that is away is waited for with one line; the wait ends when the user stops or its time has run out."""

import threading
import time
from contextlib import nullcontext
from types import SimpleNamespace

import pytest

from flows.cli import commands
from flows.config import CompareConfig
from flows.errors import UserError
from flows.project import Project
from flows.tracking import client as module
from flows.tracking.client import RetryingClient, StoreLostError

REFUSED = "API request to http://me:secret@host:5000/api failed with exception HTTPConnectionPool: Connection refused"
POSTGRES = 'connection to server at "127.0.0.1", port 5432 failed: Connection refused'


def failing(times: int, text: str = REFUSED):
    """An MLflow client that fails so many times, then answers."""
    left = iter([True] * times)

    def get_run(run_id):
        if next(left, False):
            raise RuntimeError(text)
        return run_id

    return SimpleNamespace(get_run=get_run)


def hanging(seconds: float):
    """An MLflow client whose server accepts requests and does not answer for a while."""
    return SimpleNamespace(get_run=lambda run_id: (time.sleep(seconds), run_id)[1])


@pytest.mark.parametrize("remote", [False, True])
@pytest.mark.parametrize("text", [REFUSED, POSTGRES, "failed with error code 503 != 200"])
def test_a_store_that_comes_back_is_waited_for_and_named_once(capsys, text, remote):
    client = RetryingClient(failing(3, text), "http://host:5000", remote)
    assert client.get_run("a") == "a"
    assert capsys.readouterr().err == "keyhole: http://host:5000 does not answer; waiting up to 120 s\n"


def test_a_store_that_hangs_is_named_within_seconds(capsys, monkeypatch):
    monkeypatch.setattr(module, "NOTICE_SECONDS", 0.3)
    assert module.RetryingClient(hanging(1.0), "db", remote=True).get_run("a") == "a"
    assert capsys.readouterr().err == "keyhole: db does not answer; waiting up to 120 s\n"


def moving(seconds: float, text: str = ""):
    """An MLflow client whose uploads take a while, then fail with a text if there is one."""

    def log_artifacts(run_id, folder):
        time.sleep(seconds)
        if text:
            raise RuntimeError(text)
        return run_id

    return SimpleNamespace(log_artifacts=log_artifacts)


@pytest.mark.parametrize("remote", [False, True])
def test_a_long_upload_is_not_taken_for_a_lost_store(monkeypatch, capsys, remote):
    monkeypatch.setattr(module, "RETRY_SECONDS", 0.3)
    monkeypatch.setattr(module, "NOTICE_SECONDS", 0.3)
    client = RetryingClient(moving(1.2), "db", remote)
    client.files = "s3://bucket"
    assert client.log_artifacts("a", "folder") == "a"
    assert capsys.readouterr().err == "keyhole: a transfer with s3://bucket is not finished; waiting up to 1800 s\n"


def test_a_lost_address_of_files_does_not_cut_short_calls_to_the_database(monkeypatch):
    monkeypatch.setattr(module, "TRANSFER_SECONDS", 0.3)
    monkeypatch.setattr(module, "STOP_SECONDS", 0.2)
    client = SimpleNamespace(**vars(moving(60)), **vars(hanging(1.0)))
    retrying = RetryingClient(client, "db", remote=True)
    retrying.files = "s3://bucket"
    with pytest.raises(StoreLostError, match="s3://bucket"):
        retrying.log_artifacts("a", "folder")
    assert retrying.get_run("a") == "a"


def test_a_database_that_stays_locked_is_named(monkeypatch, capsys):
    monkeypatch.setattr(module, "NOTICE_SECONDS", 0.3)
    assert RetryingClient(failing(5, "database is locked"), "mlruns").get_run("a") == "a"
    assert capsys.readouterr().err == "keyhole: mlruns is locked by another process; waiting up to 120 s\n"


@pytest.mark.parametrize("client", [moving(0.1, 'Could not connect to the endpoint URL: "http://s3"'), moving(60)])
def test_an_upload_that_cannot_be_made_is_lost_in_the_end_and_names_the_address(monkeypatch, client):
    monkeypatch.setattr(module, "RETRY_SECONDS", 0.3)
    monkeypatch.setattr(module, "TRANSFER_SECONDS", 1.0)
    retrying = RetryingClient(client, "db")
    retrying.files = "s3://bucket"
    with pytest.raises(StoreLostError, match="s3://bucket does not answer"):
        retrying.log_artifacts("a", "folder")


@pytest.mark.parametrize("client", [moving(0.1, "Could not connect to the endpoint URL"), moving(60)])
def test_an_upload_ends_within_seconds_of_a_stop(client):
    waiting = RetryingClient(client, "db")
    threading.Timer(0.3, waiting.stop).start()
    start = time.monotonic()
    with pytest.raises(StoreLostError):
        waiting.log_artifacts("a", "folder")
    assert time.monotonic() - start < 5


def test_the_notice_comes_within_ten_seconds():
    assert module.NOTICE_SECONDS < 10


@pytest.mark.parametrize("client", [failing(10**6), hanging(60)])
def test_after_its_time_the_store_is_lost_and_later_calls_fail_at_once(monkeypatch, client):
    monkeypatch.setattr(module, "RETRY_SECONDS", 0.5)
    lost = RetryingClient(client, "db", remote=True)
    with pytest.raises(StoreLostError, match="db does not answer") as error:
        lost.get_run("a")
    assert "secret" not in str(error.value)
    monkeypatch.setattr(module, "RETRY_SECONDS", 120.0)
    start = time.monotonic()
    with pytest.raises(StoreLostError):
        lost.get_run("a")
    assert time.monotonic() - start < 5


@pytest.mark.parametrize("client", [failing(10**6), hanging(60)])
def test_a_call_that_waits_ends_within_seconds_of_a_stop(client):
    waiting = RetryingClient(client, "db", remote=True)
    threading.Timer(0.3, waiting.stop).start()
    start = time.monotonic()
    with pytest.raises(StoreLostError):
        waiting.get_run("a")
    assert time.monotonic() - start < 5


def test_after_a_stop_a_store_that_hangs_gets_one_more_request_and_an_address_of_files_its_own(monkeypatch):
    monkeypatch.setattr(module, "STOP_SECONDS", 0.2)
    requests = []

    def hang(run_id):
        requests.append(run_id)
        time.sleep(60)

    client = RetryingClient(SimpleNamespace(get_run=hang, log_artifacts=lambda run_id, folder: run_id), "db", True)
    client.files = "s3://bucket"
    client.stop()
    for run_id in ("a", "b", "c"):
        with pytest.raises(StoreLostError, match="db does not answer"):
            client.get_run(run_id)
    assert requests == ["a"]
    assert client.log_artifacts("a", "folder") == "a"


def test_an_interrupt_stops_the_waiting_of_every_run(store, monkeypatch):
    stopped = []
    monkeypatch.setattr(type(store.client), "stop", lambda client: stopped.append(client))
    with pytest.raises(KeyboardInterrupt), store.run("stopped", {}, {}):
        raise KeyboardInterrupt
    assert stopped == [store.client]


@pytest.mark.parametrize("error", [KeyboardInterrupt(), ValueError("no sense")])
def test_an_error_that_ends_a_run_is_not_replaced_by_the_loss_of_the_store(store, monkeypatch, error):
    def lost(*_):
        raise StoreLostError("db does not answer")

    monkeypatch.setattr(type(store.client), "stop", lambda client: None)
    block = store.run("left open", {}, {})
    record = block.__enter__()
    monkeypatch.setattr(record, "close", lost)
    assert not block.__exit__(type(error), error, None)  # the error propagates
    store.client.set_terminated(record.run_id)


@pytest.mark.parametrize("text", ["RESOURCE_DOES_NOT_EXIST", "failed with error code 404 != 200"])
def test_an_error_of_the_request_is_not_repeated(text):
    with pytest.raises(RuntimeError, match=text):
        RetryingClient(failing(1, text), "db", remote=True).get_run("a")


def test_damage_that_is_found_later_is_one_line_that_names_the_file():
    malformed = failing(1, "(sqlite3.DatabaseError) database disk image is malformed")
    with pytest.raises(UserError, match=r"^mlruns/mlflow\.db is damaged"):
        RetryingClient(malformed, "mlruns", database="mlruns/mlflow.db").get_run("a")


def test_a_sweep_whose_store_is_lost_ends_with_one_line_that_names_resume(monkeypatch, tmp_path, capsys):
    def lost(*_):
        raise StoreLostError("http://host:5000 does not answer (refused)")

    monkeypatch.setattr(commands, "_server", lambda *_: nullcontext())
    monkeypatch.setattr(commands, "_run_flow", lost)
    with pytest.raises(SystemExit) as end:
        commands._sweep(Project(tmp_path, tmp_path / "mlruns"), CompareConfig(), None)
    assert end.value.code == 1
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "when the store answers again, continue with `keyhole compare --resume" in err
