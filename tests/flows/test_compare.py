"""Complete sweeps through the command line, with training functions that do not learn."""

import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

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


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    """One project for all sweeps of this file, because creating its databases takes seconds."""
    root = tmp_path_factory.mktemp("project")
    (root / ".git").mkdir()
    return root


def start(project: Path, trainer: str, *words: str) -> subprocess.Popen:
    ours = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT", "KEYHOLE"))}
    command = [sys.executable, "-c", COMMAND, trainer, *words]
    return subprocess.Popen(
        command, cwd=project, env={**ours, "PYTHONPATH": str(ROOT)}, text=True, stdout=-1, stderr=-1,
        start_new_session=True, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip


def keyhole(project: Path, trainer: str, *words: str) -> tuple[int, str, str]:
    process = start(project, trainer, *words)
    out, err = process.communicate(timeout=300)
    return process.returncode, out, err


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


def test_a_sweep_is_in_mlflow_and_prefect_and_leaves_no_process(project):
    code, out, err = keyhole(project, "learns", "compare", *TINY)
    assert (code, err) == (0, "")
    assert "[4/4]" in out
    assert sorted(runs(project)) == sorted(
        (f"{method} p=0.1 seed={seed}", "FINISHED") for method in ("naive", "filtering") for seed in (0, 1)
    )
    assert history(project) == [("COMPLETED", 5)]  # four runs and the certificate
    assert all("pid=" in owner for owner in tags(project, "flow_run"))
    assert tags(project, "task_run") == {"[]"}  # each tag would cost a query for a concurrency limit
    assert {"progress", "results", "report"} <= artifacts(project)
    assert server_processes(project) == []
    page = Path(out.partition("report: ")[2].splitlines()[0])
    assert {"results.csv", "true_return.png", "learning_curves.png"} <= {file.name for file in page.parent.iterdir()}
    assert "optimum" in page.read_text()


def counts(project: Path) -> tuple[int, int]:
    """Returns the number of MLflow runs and of registered model versions."""
    with sqlite3.connect(project / "mlruns" / "mlflow.db") as database:
        return tuple(
            database.execute(f"SELECT count(*) FROM {name}").fetchone()[0] for name in ("runs", "model_versions")
        )


def test_an_unchanged_sweep_makes_no_run_and_points_to_the_earlier_report(project):
    before = counts(project)
    code, out, err = keyhole(project, "learns", "compare", *TINY)
    assert (code, err) == (0, "")
    assert "\nnothing new since 20" in out
    assert Path(out.partition("report: ")[2].splitlines()[0]).exists()
    assert counts(project) == before
    assert server_processes(project) == []


def test_next_seeds_extend_the_sweep_and_renew_its_report(project):
    before = counts(project)
    code, out, err = keyhole(project, "learns", "compare", *TINY, "--seeds", "1", "--next-seeds")
    assert (code, err) == (0, "")
    assert out.startswith("sweep tiny, 6 runs of 4,096 steps each: 4 finished, 2 to start\n")
    assert len(runs(project)) == 6
    assert counts(project)[0] == before[0] + 2
    page = Path(out.partition("report: ")[2].splitlines()[0])
    seeds = {line.split(",")[5] for line in (page.parent / "results.csv").read_text().splitlines()[1:]}
    assert seeds == {"0", "1", "2"}


def test_the_report_is_rewritten_from_mlflow_alone(project):
    _, out, _ = keyhole(project, "learns", "report", "tiny")
    page = Path(out.partition("report: ")[2].splitlines()[0])
    before = page.read_bytes()
    for file in page.parent.iterdir():
        file.unlink()
    code, _, _ = keyhole(project, "learns", "report")
    assert code == 0
    assert page.read_bytes() == before


def test_a_failed_run_is_named_and_the_others_finish(project):
    code, _, err = keyhole(project, "fails_on_filtering", "compare", *TINY)
    assert code == 1
    assert err == "keyhole: 2 of 4 runs failed: filtering p=0.1 seed=0, filtering p=0.1 seed=1\n"
    assert sorted(status for _, status in runs(project)) == ["FAILED", "FAILED", "FINISHED", "FINISHED"]


def test_a_run_whose_process_dies_is_resumed_in_another(project):
    code, _, _ = keyhole(project, "dies_once", "compare", *TINY)
    assert code == 0
    assert [status for _, status in runs(project)] == ["FINISHED"] * 4


def wait_for_runs(project: Path, sweep: subprocess.Popen) -> None:
    """Waits until two runs of the sweep are training."""
    before = time.monotonic()
    known = runs(project)
    while runs(project) == known or [status for _, status in runs(project)] != ["RUNNING", "RUNNING"]:
        assert sweep.poll() is None
        assert time.monotonic() - before < 120
        time.sleep(0.2)


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
    code, out, _ = keyhole(project, "lingers_once", "compare", "--resume")
    assert code == 0
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
