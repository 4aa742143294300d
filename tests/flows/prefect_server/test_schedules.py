"""Schedules are validated before anything starts; a due schedule starts a sweep, which completes."""

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
from prefect.client.schemas.objects import DeploymentSchedule
from prefect.client.schemas.schedules import CronSchedule

from flows.config import CompareConfig, RunOptions
from flows.errors import UserError
from flows.prefect_server import schedules
from flows.prefect_server.schedules import Scheduled, schedule_table, select_schedules
from flows.serve import _end_runs, deployments
from tests.flows.postgres import free_port

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


@pytest.mark.parametrize("verb", ["list", "pause"])
def test_schedule_commands_name_a_server_that_does_not_answer(keyhole, monkeypatch, verb):
    monkeypatch.setenv("PREFECT_API_URL", f"http://me:secret@127.0.0.1:{free_port()}/api")
    code, _, err = keyhole("schedule", verb)
    assert (code, err.count("\n")) == (2, 1)
    assert "PREFECT_API_URL: no Prefect server answers at http://" in err
    assert "secret" not in err


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


class Deployments:
    """A double of Prefect's client with the deployments of one flow; each has one schedule."""

    def __init__(self, **states: tuple[bool, bool]) -> None:
        self.found = [
            SimpleNamespace(
                id=name, name=name, flow_id=0, paused=paused, schedules=[SimpleNamespace(id=0, active=active)]
            )
            for name, (paused, active) in states.items()
        ]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return

    def read_deployments(self, **_):
        return self.found

    def read_flow(self, _):
        return SimpleNamespace(name="compare")

    def _named(self, name: str):
        return next(one for one in self.found if one.id == name)

    def update_deployment_schedule(self, name, schedule, active):
        self._named(name).schedules[0].active = active

    def pause_deployment(self, name):
        self._named(name).paused = True

    def resume_deployment(self, name):
        self._named(name).paused = False


@pytest.fixture
def served(monkeypatch) -> Deployments:
    client = Deployments(nightly=(False, True), weekly=(False, True))
    monkeypatch.setattr(schedules, "open_client", lambda project: client)
    return client


def stop_serving(served: Deployments) -> None:
    """What happens when `keyhole serve` stops; Prefect pauses all that it served."""
    schedules.keep_paused(None, ["compare/nightly"])
    served.pause_deployment("nightly")


def test_a_schedule_is_served_again_after_serving_has_stopped(served):
    stop_serving(served)
    assert not schedules.is_paused(None, "compare/nightly")


def test_a_schedule_that_the_user_paused_stays_paused_until_it_is_resumed(served):
    nightly = Scheduled("compare/nightly", "0 3 * * *", "UTC", True, None, "nightly", 0)
    schedules.pause(served, nightly)
    stop_serving(served)
    assert schedules.is_paused(None, "compare/nightly")
    assert not schedules.is_paused(None, "compare/weekly")
    schedules.resume(served, nightly)
    assert not schedules.is_paused(None, "compare/nightly")


def test_a_schedule_that_was_paused_on_prefects_page_stays_paused(served):
    served.pause_deployment("nightly")
    served.pause_deployment("weekly")  # served at another time
    stop_serving(served)
    assert schedules.is_paused(None, "compare/nightly")
    assert not schedules.is_paused(None, "compare/weekly")


def test_schedules_that_the_user_gave_are_given_again_as_they_are(served):
    given = DeploymentSchedule(
        schedule=CronSchedule(cron="0 4 * * *"), active=False, parameters={"config": {"seeds": 1}}
    )
    served.found[0].schedules = [given]
    (again,) = schedules.given_schedules(None, "compare/nightly")
    assert (again.schedule, again.active, again.parameters) == (given.schedule, False, {"config": {"seeds": 1}})
    config, options = CompareConfig(), RunOptions()
    others = deployments(config, options, None, "UTC", given={"study/keyhole": [again]}.get)[1:]
    assert {one.flow_name: one.schedules for one in others} == {"study": [again], "certify": [], "report": []}


def test_next_seeds_are_not_served_without_an_earlier_sweep(keyhole, checkout, monkeypatch):
    monkeypatch.setattr("flows.serve.check_sweep", lambda config: None)
    code, _, err = keyhole("serve", "--cron", "0 3 * * *", "--next-seeds")
    assert (code, err.count("\n")) == (2, 1)
    assert "no runs in" in err


def test_a_flow_run_that_has_just_ended_does_not_disturb_the_end_of_serving():
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        while psutil.Process(ended.pid).status() != psutil.STATUS_ZOMBIE:
            time.sleep(0.01)
        _end_runs()


def flow_runs(project: Path) -> list[tuple[str, str]]:
    """Flow name and state of the flow runs that have started."""
    with sqlite3.connect(project / ".prefect" / "prefect.db") as database:
        return database.execute(
            "SELECT f.name, r.state_type FROM flow_run r JOIN flow f ON f.id = r.flow_id"
            " WHERE r.state_type != 'SCHEDULED'"
        ).fetchall()


def schedules_of(project: Path) -> list[tuple[str, bool]]:
    """Schedules as JSON, and whether they are active."""
    with sqlite3.connect(project / ".prefect" / "prefect.db") as database:
        return database.execute("SELECT schedule, active FROM deployment_schedule").fetchall()


def wait(serving: subprocess.Popen, condition: Callable[[], bool]) -> None:
    """Block until the condition holds."""
    start = time.monotonic()
    while not condition():
        assert serving.poll() is None
        assert time.monotonic() - start < 240
        time.sleep(0.5)


@pytest.mark.slow
def test_a_schedule_starts_one_sweep_and_stays_paused_after_a_restart(tmp_path):
    (tmp_path / ".git").mkdir()
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT", "KEYHOLE"))}
    environment["PYTHONPATH"] = str(ROOT)
    keyhole = [sys.executable, "-m", "flows"]
    tiny = ["--preset", "smoke", "--methods", "naive", "--oversight", "0.1", "--seeds", "1", "--set", "size=2"]

    def serve(cron: str, output: Path) -> subprocess.Popen:
        command = [*keyhole, "serve", "--cron", cron, *tiny, "--name", "nightly"]
        with output.open("w") as file:
            serving = subprocess.Popen(
                command, cwd=tmp_path, env=environment, stdout=file, stderr=file, start_new_session=True,
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
            )  # fmt: skip
        wait(serving, lambda: "/deployments\n" in output.read_text())
        return serving

    def stop(serving: subprocess.Popen) -> int:
        serving.send_signal(signal.SIGINT)
        return serving.wait(60)

    serving = serve("* * * * * */10", tmp_path / "first")
    try:
        wait(serving, lambda: flow_runs(tmp_path).count(("compare", "COMPLETED")) > 1)
        paused = subprocess.run(
            [*keyhole, "schedule", "pause"], cwd=tmp_path, env=environment, capture_output=True, text=True
        )
        assert paused.stdout == "compare/nightly (* * * * * */10): paused\n"
    finally:
        code = stop(serving)
    assert code == 0, (tmp_path / "first").read_text()
    with sqlite3.connect(tmp_path / "mlruns" / "mlflow.db") as database:
        runs = database.execute("SELECT name, status FROM runs").fetchall()
        assert runs.count(("nightly", "FINISHED")) == 1  # the second sweep had nothing new
        assert database.execute("SELECT count(*) FROM model_versions").fetchone() == (1,)
    again = serve("* * * * * */20", tmp_path / "second")
    try:
        wait(again, lambda: "*/20" in schedules_of(tmp_path)[0][0])
        assert [active for _, active in schedules_of(tmp_path)] == [False]
    finally:
        stop(again)
    assert "but is paused; `keyhole schedule resume nightly` resumes it" in (tmp_path / "second").read_text()
