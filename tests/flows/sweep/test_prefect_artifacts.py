"""Progress is written to the Prefect UI at intervals and at the end; a failed write does not end the sweep."""

import contextlib
import logging
import time

import pytest

from flows.sweep import prefect_artifacts


class Advancing:
    """A sweep whose share of steps grows with time."""

    def __init__(self) -> None:
        self.start = time.monotonic()

    @property
    def share(self) -> float:
        return min(1.0, time.monotonic() - self.start)


class Client(contextlib.nullcontext):
    """A double of Prefect's client that keeps the values written."""

    def __init__(self, values: list[float]) -> None:
        super().__init__(self)
        self.values = values

    def update_artifact(self, artifact, update) -> None:
        self.values.append(update.data)


@pytest.fixture
def written(monkeypatch):
    values: list[float] = []
    monkeypatch.setattr(prefect_artifacts, "create_progress_artifact", lambda value, **_: values.append(value))
    monkeypatch.setattr(prefect_artifacts, "get_client", lambda sync_client: Client(values))
    return values


def test_progress_is_written_at_intervals_and_at_the_end(written, monkeypatch):
    monkeypatch.setattr(prefect_artifacts, "UPDATE_SECONDS", 0.1)
    with prefect_artifacts.show_progress(Advancing()):
        time.sleep(0.35)
        assert 2 <= len(written) <= 4
    deadline = time.monotonic() + 5
    seen = len(written)
    while len(written) == seen and time.monotonic() < deadline:
        time.sleep(0.01)
    assert len(written) == seen + 1
    assert written == sorted(written)
    assert written[0] == 0
    assert 30 < written[-1] <= 100


def refused(*_, **__):
    raise ConnectionError("no server")


def test_progress_is_not_written_while_it_does_not_change(written, monkeypatch):
    monkeypatch.setattr(prefect_artifacts, "UPDATE_SECONDS", 0.01)
    monkeypatch.setattr(Advancing, "share", 0.5)
    with prefect_artifacts.show_progress(Advancing()):
        time.sleep(0.1)
    assert written == [0, 50]


@pytest.mark.parametrize(
    ("where", "name"),
    [(prefect_artifacts, "create_progress_artifact"), (prefect_artifacts, "get_client"), (Client, "update_artifact")],
)
def test_a_server_that_does_not_answer_is_logged_and_ends_nothing(where, name, written, monkeypatch, caplog):
    monkeypatch.setattr(prefect_artifacts, "UPDATE_SECONDS", 0.01)
    monkeypatch.setattr(where, name, refused)
    caplog.set_level(logging.INFO)
    with prefect_artifacts.show_progress(Advancing()):
        time.sleep(0.05)
    assert "in the Prefect UI failed: ConnectionError('no server')" in caplog.text


def test_an_exception_of_the_sweep_is_not_suppressed(written):
    with pytest.raises(KeyboardInterrupt), prefect_artifacts.show_progress(Advancing()):
        raise KeyboardInterrupt
