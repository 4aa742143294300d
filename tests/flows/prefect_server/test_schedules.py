"""What a schedule says is checked before anything starts; one that is due starts a sweep, which completes."""

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from flows.errors import UserError
from flows.prefect_server.schedules import Scheduled, schedule_table, select_schedules

ROOT = Path(__file__).parents[3]
NIGHTLY = Scheduled("compare/nightly", "0 3 * * *", "UTC", True, None, 1, 1)
WEEKLY = Scheduled("compare/weekly", "0 3 * * 0", "Europe/Berlin", False, None, 2, 2)


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--cron", "0 3 * *"], "--cron: found '0 3 * *'; write minute hour day month weekday"),
        (["--cron", "0 3 * * *", "--timezone", "Mars"], "--timezone: found 'Mars'"),
        (["--cron", "0 3 * * *", "--methods", "naiv"], "did you mean 'naive'?"),
    ],
)
def test_a_schedule_that_could_not_run_costs_one_line(keyhole, checkout, words, complaint):
    code, _, err = keyhole("serve", *words)
    assert (code, err.count("\n")) == (2, 1)
    assert complaint in err
    assert not (checkout / ".prefect" / "server.json").exists()


@pytest.mark.parametrize("verb", ["list", "pause", "resume", "remove"])
def test_without_a_server_a_schedule_says_how_to_start_one(keyhole, verb):
    code, _, err = keyhole("schedule", verb)
    assert (code, err.count("\n")) == (2, 1)
    assert "start one with `keyhole serve`" in err


def test_a_schedule_is_named_with_or_without_its_flow():
    both = [NIGHTLY, WEEKLY]
    assert (
        select_schedules(both, "nightly")
        == select_schedules(both, "compare/nightly")
        == select_schedules([NIGHTLY], None)
        == [NIGHTLY]
    )


@pytest.mark.parametrize(
    ("known", "name", "complaint"),
    [
        ([NIGHTLY, WEEKLY], None, "there are 2 schedules; name one of compare/nightly, compare/weekly"),
        ([NIGHTLY], "nigtly", "did you mean 'nightly'?"),
        ([], None, "make one with `keyhole serve --cron"),
    ],
)
def test_a_name_that_fits_no_single_schedule_is_refused(known, name, complaint):
    with pytest.raises(UserError, match=complaint.replace("?", r"\?")):
        select_schedules(known, name)


def test_the_list_shows_state_and_time_zone_of_each():
    assert schedule_table([NIGHTLY, WEEKLY]).splitlines() == [
        "compare/nightly  0 3 * * *  UTC            active",
        "compare/weekly   0 3 * * 0  Europe/Berlin  paused",
    ]


def flow_runs(project: Path) -> list[tuple[str, str]]:
    """Name and state of those that have left their schedule."""
    with sqlite3.connect(project / ".prefect" / "prefect.db") as database:
        return database.execute(
            "SELECT f.name, r.state_type FROM flow_run r JOIN flow f ON f.id = r.flow_id"
            " WHERE r.state_type != 'SCHEDULED'"
        ).fetchall()


def wait(serving: subprocess.Popen, reached: Callable[[], bool]) -> None:
    """Returns when that is so."""
    start = time.monotonic()
    while not reached():
        assert serving.poll() is None
        assert time.monotonic() - start < 240
        time.sleep(0.5)


@pytest.mark.slow
def test_a_schedule_fires_its_sweep_completes_and_serving_ends_with_ctrl_c(tmp_path):
    (tmp_path / ".git").mkdir()
    ours = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT", "KEYHOLE"))}
    ours["PYTHONPATH"] = str(ROOT)
    keyhole = [sys.executable, "-m", "flows"]
    tiny = ["--preset", "smoke", "--methods", "naive", "--oversight", "0.1", "--seeds", "1", "--set", "size=2"]
    with (tmp_path / "said").open("w+") as said:
        serving = subprocess.Popen(
            [*keyhole, "serve", "--cron", "* * * * * */30", *tiny, "--name", "nightly"], cwd=tmp_path, env=ours,
            stdout=said, stderr=said, start_new_session=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )  # fmt: skip
        try:
            wait(serving, lambda: "/deployments\n" in (tmp_path / "said").read_text())
            wait(serving, lambda: ("compare", "COMPLETED") in flow_runs(tmp_path))
            paused = subprocess.run(
                [*keyhole, "schedule", "pause"], cwd=tmp_path, env=ours, capture_output=True, text=True
            )
            assert paused.stdout == "compare/nightly (* * * * * */30): paused\n"
        finally:
            serving.send_signal(signal.SIGINT)
            code = serving.wait(60)
    assert code == 0
    with sqlite3.connect(tmp_path / "mlruns" / "mlflow.db") as database:
        assert ("nightly", "FINISHED") in database.execute("SELECT name, status FROM runs").fetchall()
