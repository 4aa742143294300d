"""MLflow and Prefect on one PostgreSQL, by one setting each, and the runs' files at an address."""

import importlib.util
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from flows.project import Project
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


def ask(address: str, query: str) -> list[tuple]:
    import psycopg

    with psycopg.connect(address) as connection:
        return connection.execute(query).fetchall()


def test_a_sweep_keeps_everything_in_postgresql_and_its_files_at_the_address(server, tmp_path):
    (tmp_path / ".git").mkdir()
    ours = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT", "KEYHOLE"))}
    ours |= {
        "PYTHONPATH": str(ROOT),
        "KEYHOLE_STORE": f"{server}/mlflow",
        "PREFECT_SERVER_DATABASE_CONNECTION_URL": f"{server.replace('postgresql', 'postgresql+asyncpg')}/prefect",
    }
    elsewhere = tmp_path / "elsewhere"
    command = [
        sys.executable,
        "-m",
        "flows",
        "compare",
        "--preset",
        "smoke",
        "--methods",
        "naive",
        "--oversight",
        "0.1",
    ]
    command += ["--seeds", "2", "--set", "size=2", "--name", "shared", "--artifacts", elsewhere.as_uri()]
    done = subprocess.run(command, cwd=tmp_path, env=ours, capture_output=True, text=True, timeout=400)
    assert (done.returncode, done.stderr) == (0, "")
    assert ask(f"{server}/mlflow", "SELECT status, count(*) FROM runs GROUP BY 1") == [("FINISHED", 3)]
    assert ask(f"{server}/prefect", "SELECT state_type::text, count(*) FROM task_run GROUP BY 1") == [("COMPLETED", 3)]
    assert not list(tmp_path.rglob("*.db"))
    kept = {path.name for path in elsewhere.rglob("*") if path.is_file()}
    assert {"agent.zip", "config.json", "policy.png", "report.html", "results.csv", "true_return.png"} <= kept
    # another checkout, which has none of the files, makes the report again from what is shared
    other = Store(Project(tmp_path / "other", tmp_path / "other" / "mlruns", f"{server}/mlflow"))
    found = read_results(other, find_sweep(other, "shared"))
    assert len({row.run_id for row in found.finished}) == 2
    assert (found.folder / "report.html").read_text() == next(elsewhere.rglob("report.html")).read_text()
