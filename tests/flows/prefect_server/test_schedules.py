"""Schedules are validated before anything starts; a due schedule starts a sweep, which completes."""

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
    ("words", "message"),
    [
        (["--cron", "0 3 * *"], "--cron: found '0 3 * *'; write minute hour day month weekday"),
        (["--cron", "0 3 * * *", "--timezone", "Mars"], "--timezone: found 'Mars'"),
        (["--cron", "0 3 * * *", "--methods", "naiv"], "did you mean 'naive'?"),
    ],
)
def test_an_invalid_schedule_is_a_one_line_error(keyhole, checkout, words, message):
    code, _, err = keyhole("serve", *words)
    assert (code, err.count("\n")) == (2, 1)
    assert message in err
    assert not (checkout / ".prefect" / "server.json").exists()


@pytest.mark.parametrize("verb", ["list", "pause", "resume", "remove"])
def test_without_a_server_schedule_commands_explain_how_to_start_one(keyhole, verb):
    code, _, err = keyhole("schedule", verb)
    assert (code, err.count("\n")) == (2, 1)
    assert "start one with `keyhole serve`" in err


def test_a_schedule_is_selected_with_or_without_its_flow_name():
    both = [NIGHTLY, WEEKLY]
    assert (
        select_schedules(both, "nightly")
        == select_schedules(both, "compare/nightly")
        == select_schedules([NIGHTLY], None)
        == [NIGHTLY]
    )


@pytest.mark.parametrize(
    ("known", "name", "message"),
    [
        ([NIGHTLY, WEEKLY], None, "there are 2 schedules; name one of compare/nightly, compare/weekly"),
        ([NIGHTLY], "nigtly", "did you mean 'nightly'?"),
        ([], None, "create one with `keyhole serve --cron"),
    ],
)
def test_an_unknown_or_ambiguous_schedule_is_refused(known, name, message):
    with pytest.raises(UserError, match=message.replace("?", r"\?")):
        select_schedules(known, name)


def test_the_list_shows_the_state_and_time_zone_of_each_schedule():
    assert schedule_table([NIGHTLY, WEEKLY]).splitlines() == [
        "compare/nightly  0 3 * * *  UTC            active",
        "compare/weekly   0 3 * * 0  Europe/Berlin  paused",
    ]


def flow_runs(project: Path) -> list[tuple[str, str]]:
    """Flow name and state of the flow runs that have started."""
    with sqlite3.connect(project / ".prefect" / "prefect.db") as database:
        return database.execute(
            "SELECT f.name, r.state_type FROM flow_run r JOIN flow f ON f.id = r.flow_id"
            " WHERE r.state_type != 'SCHEDULED'"
        ).fetchall()


def wait(serving: subprocess.Popen, condition: Callable[[], bool]) -> None:
    """Block until the condition holds."""
    start = time.monotonic()
    while not condition():
        assert serving.poll() is None
        assert time.monotonic() - start < 240
        time.sleep(0.5)


@pytest.mark.slow
def test_a_schedule_starts_a_sweep_that_completes_and_ctrl_c_stops_serving(tmp_path):
    (tmp_path / ".git").mkdir()
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT", "KEYHOLE"))}
    environment["PYTHONPATH"] = str(ROOT)
    keyhole = [sys.executable, "-m", "flows"]
    tiny = ["--preset", "smoke", "--methods", "naive", "--oversight", "0.1", "--seeds", "1", "--set", "size=2"]
    with (tmp_path / "output").open("w+") as output:
        serving = subprocess.Popen(
            [*keyhole, "serve", "--cron", "* * * * * */30", *tiny, "--name", "nightly"], cwd=tmp_path, env=environment,
            stdout=output, stderr=output, start_new_session=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )  # fmt: skip
        try:
            wait(serving, lambda: "/deployments\n" in (tmp_path / "output").read_text())
            wait(serving, lambda: ("compare", "COMPLETED") in flow_runs(tmp_path))
            paused = subprocess.run(
                [*keyhole, "schedule", "pause"], cwd=tmp_path, env=environment, capture_output=True, text=True
            )
            assert paused.stdout == "compare/nightly (* * * * * */30): paused\n"
        finally:
            serving.send_signal(signal.SIGINT)
            code = serving.wait(60)
    assert code == 0
    with sqlite3.connect(tmp_path / "mlruns" / "mlflow.db") as database:
        assert ("nightly", "FINISHED") in database.execute("SELECT name, status FROM runs").fetchall()
