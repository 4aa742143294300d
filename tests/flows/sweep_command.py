"""Runs `keyhole compare` in processes of its own, with training functions that do not learn, and reads what it left."""

import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

from tests.flows import forked

COMMAND = """
from flows.running import worker
if __name__ == "__main__":
    import sys
    worker.TRAIN = "tests.flows.doubles:" + sys.argv.pop(1)
    from flows.__main__ import main
    main()
"""
ROOT = Path(__file__).parents[2]
TINY = ("--preset", "smoke", "--methods", "naive,filtering", "--oversight", "0.1", "--seeds", "2", "--name", "tiny")
TINY += ("--n-steps", "8")  # enough rollouts for no warning
TINY += ("--set", "size=2")  # a small world, whose certificate is fast


def environment() -> dict[str, str]:
    ours = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT", "KEYHOLE"))}
    return {**ours, "PYTHONPATH": str(ROOT)}


def start(project: Path, trainer: str, *words: str) -> subprocess.Popen:
    command = [sys.executable, "-c", COMMAND, trainer, *words]
    return subprocess.Popen(
        command, cwd=project, env=environment(), text=True, stdout=-1, stderr=-1,
        start_new_session=True, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip


def keyhole(project: Path, trainer: str, *words: str) -> tuple[int, str, str]:
    done = forked.keyhole(project, environment(), trainer, *words, code=COMMAND)
    return done.returncode, done.stdout, done.stderr


def runs(project: Path) -> list[tuple[str, str]]:
    """Returns name and status of each run of the newest sweep."""
    with sqlite3.connect(project / "mlruns" / "mlflow.db") as database:
        (newest,) = database.execute(
            "SELECT r.run_uuid FROM runs r JOIN tags t ON t.run_uuid = r.run_uuid"
            " WHERE t.key = 'kind' AND t.value = 'sweep' ORDER BY start_time DESC LIMIT 1"
        ).fetchone()
        return database.execute(
            "SELECT name, status FROM runs r JOIN tags t ON t.run_uuid = r.run_uuid"
            " WHERE t.key = 'mlflow.parentRunId' AND t.value = ? ORDER BY start_time",
            (newest,),
        ).fetchall()


def history(project: Path) -> list[tuple[str, int]]:
    """Returns the states of the newest flow run's tasks, with their counts."""
    with sqlite3.connect(project / ".prefect" / "prefect.db") as database:
        return database.execute(
            "SELECT state_type, count(*) FROM task_run WHERE flow_run_id ="
            " (SELECT id FROM flow_run ORDER BY created DESC LIMIT 1) GROUP BY 1"
        ).fetchall()


def tags(project: Path, table: str) -> set[str]:
    """Returns the tags of all flow runs or task runs."""
    with sqlite3.connect(project / ".prefect" / "prefect.db") as database:
        return {text for (text,) in database.execute(f"SELECT tags FROM {table}")}


def artifacts(project: Path) -> set[str]:
    """Returns the keys of the artifacts in the Prefect UI."""
    with sqlite3.connect(project / ".prefect" / "prefect.db") as database:
        return {key for (key,) in database.execute("SELECT key FROM artifact")}


def server_processes(project: Path) -> list[str]:
    found = subprocess.run(["pgrep", "-f", "prefect_server/gateway.py"], capture_output=True, text=True).stdout.split()
    return [pid for pid in found if Path(f"/proc/{pid}/cwd").resolve() == project / ".prefect"]


def wait_for_runs(project: Path, sweep: subprocess.Popen) -> None:
    """Waits until two runs of the sweep are training."""
    before = time.monotonic()
    known = runs(project)
    while runs(project) == known or [status for _, status in runs(project)] != ["RUNNING", "RUNNING"]:
        assert sweep.poll() is None
        assert time.monotonic() - before < 120
        time.sleep(0.2)
