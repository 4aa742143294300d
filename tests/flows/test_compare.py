"""Complete sweeps through the command line, with training functions that do not learn."""

import sqlite3
from pathlib import Path

import pytest

from tests.flows.sweep_command import TINY, artifacts, history, keyhole, runs, server_processes, tags

pytestmark = pytest.mark.slow


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
        if not file.name.startswith("certificate-"):  # computed by the sweep, not by the report
            file.unlink()
    code, _, _ = keyhole(project, "learns", "report")
    assert code == 0
    assert page.read_bytes() == before


def test_a_failed_run_is_named_and_the_others_finish(project):
    code, _, err = keyhole(project, "fails_on_filtering", "compare", *TINY)
    assert code == 1
    assert err == "keyhole: 2 of 4 runs failed: filtering p=0.1 seed=0, filtering p=0.1 seed=1\n"
    assert sorted(status for _, status in runs(project)) == ["FAILED", "FAILED", "FINISHED", "FINISHED"]


def test_a_sweep_with_an_axis_is_certified_and_trained_at_each_level(project):
    words = [word for word in TINY if word not in ("--set", "size=2")]
    code, out, err = keyhole(project, "learns", "compare", *words, "--name", "sizes", "--axis", "size=3,2")
    assert (code, err) == (0, "")
    assert [name for name, _ in sorted(runs(project))] == sorted(
        f"{method} size={size} seed={seed}" for method in ("naive", "filtering") for size in (2, 3) for seed in (0, 1)
    )
    folder = Path(out.partition("report: ")[2].splitlines()[0]).parent
    assert {file.name for file in folder.glob("certificate-*")} == {
        "certificate-size-2.json",
        "certificate-size-3.json",
    }
    assert (folder / "report.html").read_text().count(">size 2<small>") == 1
