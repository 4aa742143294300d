"""Prefect's page hears of a sweep seldom and to the end, and a page that cannot be written ends no sweep."""

import contextlib
import time

import pytest

from flows.sweep import prefect_artifacts


class Going:
    """A sweep whose steps pass with the time."""

    def __init__(self) -> None:
        self.start = time.monotonic()

    @property
    def share(self) -> float:
        return min(1.0, time.monotonic() - self.start)


class Client(contextlib.nullcontext):
    """Prefect's, which keeps what it is told."""

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


def test_progress_is_written_now_and_then_and_at_the_end(written, monkeypatch):
    monkeypatch.setattr(prefect_artifacts, "UPDATE_SECONDS", 0.1)
    with prefect_artifacts.show_progress(Going()):
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


def test_progress_is_not_written_while_there_is_none(written, monkeypatch):
    monkeypatch.setattr(prefect_artifacts, "UPDATE_SECONDS", 0.01)
    monkeypatch.setattr(Going, "share", 0.5)
    with prefect_artifacts.show_progress(Going()):
        time.sleep(0.1)
    assert written == [0, 50]


@pytest.mark.parametrize(
    ("where", "name"),
    [(prefect_artifacts, "create_progress_artifact"), (prefect_artifacts, "get_client"), (Client, "update_artifact")],
)
def test_a_server_that_does_not_answer_ends_nothing(where, name, written, monkeypatch):
    monkeypatch.setattr(prefect_artifacts, "UPDATE_SECONDS", 0.01)
    monkeypatch.setattr(where, name, refused)
    with prefect_artifacts.show_progress(Going()):
        time.sleep(0.05)


def test_what_goes_wrong_in_the_sweep_goes_on(written):
    with pytest.raises(KeyboardInterrupt), prefect_artifacts.show_progress(Going()):
        raise KeyboardInterrupt
