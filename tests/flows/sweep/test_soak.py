"""Five hundred short runs in one sweep: none is lost or duplicated, and memory does not grow with their number.

Takes many minutes; `make soak` runs it and prints its measurements.
"""

import os
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

ROOT = Path(__file__).parents[3]
SEEDS = int(os.environ.get("SOAK_SEEDS", "250"))
TINY = ("--steps", "256", "--checkpoints", "1", "--n-envs", "16", "--n-steps", "16", "--width", "8")
SWEEP = ("--env", "keyhole/TMaze-v0", "--methods", "naive,filtering", "--oversight", "0.5", "--workers", "2")
GROWTH = 1.25  # from a tenth of the runs to nine tenths; caches fill at the start


def memory(parent: psutil.Process) -> dict[str, float]:
    """Returns the resident memory of the parent and of all workers together, in MiB."""
    workers = [child for child in parent.children(recursive=True) if "forkserver" in " ".join(child.cmdline())]
    return {
        "parent": parent.memory_info().rss / 2**20,
        "workers": sum(worker.memory_info().rss for worker in workers) / 2**20,
    }


def ended(database: Path) -> list[tuple[str, str]]:
    """Returns name and status of every run of the sweep."""
    with sqlite3.connect(database) as opened:
        return opened.execute(
            "SELECT name, status FROM runs r JOIN tags t ON t.run_uuid = r.run_uuid WHERE t.key = 'mlflow.parentRunId'"
        ).fetchall()


def ends_of_runs(sweep: subprocess.Popen) -> Iterator[int]:
    """Yields the number of ended runs each time one ends."""
    for line in sweep.stdout:
        if line.startswith("["):
            yield int(line[1:].partition("/")[0])


@pytest.mark.soak
def test_five_hundred_runs_are_complete_and_memory_does_not_grow(tmp_path, capsys):
    (tmp_path / ".git").mkdir()
    ours = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT", "KEYHOLE"))}
    command = [sys.executable, "-m", "flows", "compare", *SWEEP, *TINY, "--seeds", str(SEEDS)]
    measured: list[dict[str, float]] = []
    with subprocess.Popen(
        command, cwd=tmp_path, env={**ours, "PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE, text=True
    ) as sweep:
        for done in ends_of_runs(sweep):
            if done % max(SEEDS // 5, 1) == 0 and done < 2 * SEEDS:
                measured.append({"runs": done, **memory(psutil.Process(sweep.pid))})
                with capsys.disabled():
                    print("\n" + ", ".join(f"{name} {size:.0f}" for name, size in measured[-1].items()), end="")
    assert sweep.returncode == 0
    runs = ended(tmp_path / "mlruns" / "mlflow.db")
    assert Counter(status for _, status in runs) == {"FINISHED": 2 * SEEDS}
    assert set(Counter(name for name, _ in runs).values()) == {1}
    assert all(measured[-1][who] < GROWTH * measured[0][who] for who in ("parent", "workers"))
