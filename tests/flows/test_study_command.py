"""Studies through the command line, as a flow with a nested run for each arm and seed."""

import json
import sqlite3

import pytest

from tests.flows.forked import keyhole
from tests.flows.sweep_command import history, server_processes

STUDY = """
'Normal numbers, some of them shifted.'

import os
import torch
from agents.studies import Claim, Panel, study

@study(
    question="Is the shift found?",
    arms={"plain": {"shift": 0.0}, "shifted": {"shift": 1.0}},
    quick={"count": 50, "power": (1, 2)},
    full={"count": 60, "power": (1, 2)},
    axis="power",
    claims=(
        Claim("the means differ by 1", lambda s: s["shifted", 1]["mean"] - s["plain", 1]["mean"], 0.999, 1.001),
        Claim("the mean is at least 2", lambda s: s["plain", 1]["mean"], at_least=2),
    ),
    panels=(Panel("mean", "mean"), Panel("mean", "mean", "axis"), Panel("running", "mean", "steps")),
)
def shift(run, *, shift, count, power):
    if shift and os.path.exists("broken") and run.seed == 1:
        raise RuntimeError("no <b>shift</b>")
    numbers = (torch.randn(count) + shift) ** power
    for step in range(10, count, 10):
        run.record(step, {"running": numbers[:step].mean().item()})
    return {"mean": numbers.mean().item()}
"""
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def command(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    (folder / "my_study.py").write_text(STUDY)
    environment = {"HOME": str(folder), "PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1"}

    def run(*words, expected=0):
        done = keyhole(folder, environment, "study", *words)
        assert done.returncode == expected, done.stderr
        return done

    run.folder = folder
    return run


def counts(folder):
    with sqlite3.connect(folder / "mlruns" / "mlflow.db") as database:
        return dict(database.execute("SELECT value, count(*) FROM tags WHERE key = 'kind' GROUP BY value"))


def test_a_study_with_a_failing_run_continues_and_is_resumed(command):
    (command.folder / "broken").touch()
    done = command("run", "my_study:shift", "--seeds", "2", expected=1)
    assert done.stderr == ("keyhole: 2 of 8 runs failed: shifted power=1 seed=1, shifted power=2 seed=1\n")
    assert "  undecided: 1.000, bound ≥ 0.999 and ≤ 1.001, 1 of 1 seeds within" in done.stdout
    (command.folder / "broken").unlink()
    again = command("run", "my_study:shift", "--seeds", "2")
    assert "6 runs reused from earlier ones" in again.stdout
    assert "  holds: 1.000 ± 0.000, bound ≥ 0.999 and ≤ 1.001, 2 of 2 seeds within" in again.stdout
    assert "fails: my_study:shift, quick, 2 seeds" in again.stdout
    assert history(command.folder) == [("COMPLETED", 8)]
    assert server_processes(command.folder) == []


def test_an_equal_study_is_not_run_again_and_seeds_can_be_added(command):
    before = counts(command.folder)
    assert "nothing new since 20" in command("run", "my_study:shift", "--seeds", "2").stdout
    assert counts(command.folder) == before
    assert "3 of 3 seeds within" in command("run", "my_study:shift", "--seeds", "1", "--next-seeds").stdout
    assert counts(command.folder)["study"] == before["study"]


def test_a_study_is_shown_listed_and_put_on_a_page(command):
    facts = json.loads(command("show", "my_study:shift", "--json").stdout)
    assert [claim["verdict"] for claim in facts["claims"]] == ["holds", "fails"]
    assert len(facts["runs"]) == 12
    assert "my_study:shift" in command("list").stdout
    command("page", "--out", "docs")
    page = (command.folder / "docs" / "studies.md").read_text()
    assert (
        "| Is the shift found? | the means differ by 1 | – | 1.000 ± 0.000 (≥ 0.999 and ≤ 1.001) | **holds** |" in page
    )
    assert "<summary>Set-up and read-outs</summary>\n\nNormal numbers, some of them shifted.\n" in page
    assert (command.folder / "docs" / "studies" / "shift.png").stat().st_size > 10_000


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["run"], "name a study, or all"),
        (["run", "my_study:shft"], "my_study has no 'shft'"),
        (["run", "nonsense"], "unknown study 'nonsense'"),
        (["run", "my_study:shift", "--preset", "huge"], "--preset: found 'huge'; should be 'quick' or 'full'"),
        (["run", "my_study:shift", "--resume"], "--resume uses the study's own settings"),
        (["run", "all", "--next-seeds"], "--next-seeds adds seeds to one study"),
        (["run", "--resume", "never"], "unknown study 'never'"),
        (["show", "never"], "unknown study 'never'"),
    ],
)
def test_bad_input_is_one_line(command, words, message):
    error = command(*words, expected=2).stderr
    assert message in error
    assert error.count("\n") == 1
