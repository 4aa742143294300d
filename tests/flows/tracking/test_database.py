"""MLflow and Prefect store their data in one PostgreSQL server, and runs upload their files to an address."""

import importlib.util
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from flows.project import Project
from flows.tracking import archive
from flows.tracking.results import find_sweep, read_results
from flows.tracking.store import Store
from tests.flows.postgres import postgres

ROOT = Path(__file__).parents[3]
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    if importlib.util.find_spec("psycopg") is None:
        pytest.skip("psycopg is not installed: pip install 'keyhole[postgres]'")
    with postgres("mlflow", "prefect") as address:
        yield address


def query(address: str, statement: str) -> list[tuple]:
    import psycopg

    with psycopg.connect(address) as connection:
        return connection.execute(statement).fetchall()


def test_a_sweep_stores_its_record_in_postgresql_and_its_files_at_the_address(server, tmp_path):
    (tmp_path / ".git").mkdir()
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT", "KEYHOLE"))}
    environment |= {
        "PYTHONPATH": str(ROOT),
        "KEYHOLE_STORE": f"{server}/mlflow",
        "PREFECT_SERVER_DATABASE_CONNECTION_URL": f"{server.replace('postgresql', 'postgresql+asyncpg')}/prefect",
    }
    destination = tmp_path / "elsewhere"
    command = [
        sys.executable,
        "-m",
        "flows",
        "compare",
        "--preset",
        "smoke",
        "--n-steps",
        "8",  # enough rollouts for no warning
        "--methods",
        "naive",
        "--oversight",
        "0.1",
    ]
    command += ["--seeds", "2", "--set", "size=2", "--name", "shared", "--artifacts", destination.as_uri()]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=400)
    assert (done.returncode, done.stderr) == (0, "")
    assert query(f"{server}/mlflow", "SELECT status, count(*) FROM runs GROUP BY 1") == [("FINISHED", 3)]
    assert query(f"{server}/prefect", "SELECT state_type::text, count(*) FROM task_run GROUP BY 1") == [
        ("COMPLETED", 3)
    ]
    assert not list(tmp_path.rglob("*.db"))
    uploaded = {path.name for path in destination.rglob("*") if path.is_file()}
    assert {"agent.zip", "config.json", "policy.png", "report.html", "results.csv", "true_return.png"} <= uploaded
    # another checkout without local files reads the same results and the same report
    other = Store(Project(tmp_path / "other", tmp_path / "other" / "mlruns", f"{server}/mlflow"))
    results = read_results(other, find_sweep(other, "shared"))
    assert len({row.run_id for row in results.finished}) == 2
    assert (results.folder / "report.html").read_text() == next(destination.rglob("report.html")).read_text()
    # deletion leaves neither rows nor files
    assert archive.delete_runs(other, results.run_id) == 2
    counts = [query(f"{server}/mlflow", f"SELECT count(*) FROM {table}") for table in ("runs", "metrics", "params")]
    assert counts == [[(0,)]] * 3
    assert [path for path in destination.rglob("*") if path.is_file()] == []
    assert not list(other.project.artifacts.iterdir())
