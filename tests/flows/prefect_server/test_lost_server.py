"""A sweep finishes without Prefect's server: MLflow has its record, and one line names what is incomplete."""

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import psutil
import pytest

from flows.prefect_server.server import Server, ServerError, healthy
from flows.tracking.process_owner import owner_tags
from tests.flows.postgres import free_port
from tests.flows.sweep_command import TINY, runs, server_processes, start


def kill_server(project: Path) -> None:
    for pid in map(int, server_processes(project)):
        for process in [*psutil.Process(pid).children(recursive=True), psutil.Process(pid)]:
            process.kill()


def wait_until(condition, sweep: subprocess.Popen, seconds: float = 120) -> None:
    start = time.monotonic()
    while not condition():
        assert sweep.poll() is None
        assert time.monotonic() - start < seconds
        time.sleep(0.1)


def running(project: Path) -> bool:
    return (project / "mlruns" / "mlflow.db").exists() and ("RUNNING" in [status for _, status in safe_runs(project)])


def safe_runs(project: Path) -> list[tuple[str, str]]:
    try:
        return runs(project)
    except Exception:  # the tables are not there yet, or no sweep is
        return []


def up(project: Path) -> bool:
    url = Server(project / ".prefect").found_own()
    return url is not None and healthy(url)


@pytest.fixture
def project(tmp_path) -> Path:
    (tmp_path / ".git").mkdir()
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["before the first run", "while runs train"])
def test_a_sweep_finishes_without_its_server_and_names_that_in_one_line(project, monkeypatch, moment):
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    sweep = start(project, "takes_seconds", "compare", *TINY)
    wait_until(lambda: up(project) if moment == "before the first run" else running(project), sweep)
    kill_server(project)
    out, err = sweep.communicate(timeout=300)
    assert (sweep.returncode, err.count("\n")) == (0, 1), err
    assert "Prefect's server does not answer" in err
    assert "[4/4]" in out
    assert [status for _, status in runs(project)] == ["FINISHED"] * 4


def test_a_server_that_the_user_names_and_that_is_away_takes_one_line_within_seconds(monkeypatch, tmp_path):
    monkeypatch.setenv("PREFECT_API_URL", f"http://me:secret@127.0.0.1:{free_port()}/api")
    begin = time.monotonic()
    with pytest.raises(ServerError, match="PREFECT_API_URL: no Prefect server answers at") as refused:
        Server(tmp_path).start()
    assert time.monotonic() - begin < 10
    assert "secret" not in str(refused.value)


def test_a_server_that_died_while_another_command_started_it_is_not_waited_for(monkeypatch, tmp_path):
    server = Server(tmp_path)
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    other = subprocess.Popen(["sleep", "60"])

    record = {"url": f"http://127.0.0.1:{free_port()}/api", **owner_tags(other.pid)}
    (tmp_path / "server.json").write_text(json.dumps(record))
    server.start()
    try:
        os.kill(other.pid, signal.SIGKILL)
        other.wait()
        begin = time.monotonic()
        with pytest.raises(ServerError, match="exited; run the command again"):
            server.wait()
        assert time.monotonic() - begin < 10
    finally:
        server.leave()
