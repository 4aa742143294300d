"""Sweeps whose processes die or are stopped, through the command line; single runs and real training."""

import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from tests.flows.sweep_command import (
    ROOT,
    TINY,
    keyhole,
    runs,
    server_processes,
    start,
    wait_for_runs,
)

pytestmark = pytest.mark.slow


def test_a_run_whose_process_dies_is_resumed_in_another(project):
    code, _, _ = keyhole(project, "dies_once", "compare", *TINY)
    assert code == 0
    assert [status for _, status in runs(project)] == ["FINISHED"] * 4


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_sweep_closes_its_runs_and_stops_its_processes(project, number):
    sweep = start(project, "lingers", "compare", *TINY)
    wait_for_runs(project, sweep)
    os.killpg(sweep.pid, number) if number == signal.SIGINT else sweep.send_signal(number)
    _, err = sweep.communicate(timeout=60)
    assert sweep.returncode == 130
    assert err.strip() == "keyhole: stopped; finished runs are kept; continue with `keyhole compare --resume`"
    assert [status for _, status in runs(project)] == ["KILLED", "KILLED"]
    assert server_processes(project) == []


def test_a_killed_sweep_is_resumed_and_leaves_nothing_open(project):
    sweep = start(project, "lingers_once", "compare", *TINY)
    wait_for_runs(project, sweep)
    started = runs(project)
    sweep.kill()
    sweep.communicate()
    left = server_processes(project)
    assert len(left) == 1  # the resumed sweep reuses it
    resumed = start(project, "lingers_once", "compare", "--resume")  # with the same modules, not forked
    out, _ = resumed.communicate(timeout=300)
    assert resumed.returncode == 0
    assert out.startswith("sweep tiny, 4 runs of 4,096 steps each: 2 to resume, 2 to start\n")
    assert [name for name, _ in runs(project)][:2] == [name for name, _ in started]
    assert [status for _, status in runs(project)] == ["FINISHED"] * 4
    with sqlite3.connect(project / "mlruns" / "mlflow.db") as database:
        assert database.execute("SELECT count(*) FROM runs WHERE status = 'RUNNING'").fetchone() == (0,)
    with sqlite3.connect(project / ".prefect" / "prefect.db") as database:
        states = "SELECT state_type FROM {} WHERE state_type NOT IN ('COMPLETED', 'FAILED', 'CRASHED')"
        assert [database.execute(states.format(table)).fetchall() for table in ("flow_run", "task_run")] == [[], []]
    assert server_processes(project) == []


def test_a_single_run_needs_no_server(project):
    code, out, err = keyhole(project, "learns", "train", "--preset", "smoke", "--n-steps", "8", "--method", "naive")
    assert (code, err) == (0, "")
    assert "\ntrue return as deployed by rule whole: " in out
    folder = Path(out.rpartition("files in ")[2].strip())
    assert (folder / "agent.zip").exists()


def test_a_real_sweep_keeps_every_file_of_its_runs(project):
    command = [sys.executable, "-m", "flows", "compare", "--preset", "smoke", "--n-steps", "8", "--seeds", "1"]
    command += ["--oversight", "0.5", "--set", "size=3"]
    ours = {**os.environ, "PYTHONPATH": str(ROOT), "PREFECT_HOME": str(project / ".prefect")}
    done = subprocess.run(command, cwd=project, env=ours, capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stderr) == (0, "")
    agents = (project / "mlruns" / "artifacts").glob("*/artifacts/agent.zip")
    newest = max(agents, key=lambda path: path.stat().st_mtime).parent
    names = {file.name for file in newest.iterdir()}
    assert {"agent.zip", "config.json", "learning_curve.png", "policy.png"} <= names
    models = (project / "mlruns" / "artifacts").glob("*/artifacts/model/MLmodel")
    assert len(list(models)) == 2  # the best agent of each method
