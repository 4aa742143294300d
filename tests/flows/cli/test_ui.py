"""What listens, listens on loopback unless told; what it is told is said aloud; and nothing phones home."""

import json
import os
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from flows import process_env
from flows.cli import ui
from flows.errors import UserError
from flows.prefect_server.server import Server

ROOT = Path(__file__).parents[3]


@pytest.fixture
def started(monkeypatch):
    """The command that would have taken this process's place."""
    commands: list[list[str]] = []
    monkeypatch.setattr(os, "execv", lambda path, command: commands.append(command))
    for name in ui.allowed_hosts([], 0):
        monkeypatch.setenv(name, "")  # is put back after the test
        monkeypatch.delenv(name)
    return commands


def test_the_page_listens_on_loopback_and_says_nothing_of_it(store, started, capsys):
    ui.serve_page(store, "127.0.0.1", 54321)
    out, err = capsys.readouterr()
    assert started[0][started[0].index("--host") + 1] == "127.0.0.1"
    assert err == ""
    assert "http://127.0.0.1:54321/#/experiments/1/runs?" in out
    assert not os.environ.keys() & ui.allowed_hosts([], 0).keys()


def test_a_page_for_others_is_warned_of_in_one_line_and_answers_to_this_machines_names_alone(store, started, capsys):
    ui.serve_page(store, "0.0.0.0", 54321)
    _, err = capsys.readouterr()
    assert err.startswith("keyhole: warning: whoever reaches this machine at 0.0.0.0:54321")
    assert err.count("\n") == 1
    hosts = os.environ["MLFLOW_SERVER_ALLOWED_HOSTS"].split(",")
    assert "localhost:54321" in hosts
    assert not [host for host in hosts if "*" in host]
    assert os.environ["MLFLOW_SERVER_CORS_ALLOWED_ORIGINS"].split(",") == [f"http://{host}" for host in hosts]


def test_the_users_own_list_of_hosts_wins(store, started, monkeypatch):
    monkeypatch.setenv("MLFLOW_SERVER_ALLOWED_HOSTS", "lab.example")
    ui.serve_page(store, "0.0.0.0", 54321)
    assert os.environ["MLFLOW_SERVER_ALLOWED_HOSTS"] == "lab.example"


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        *((host, True) for host in ("127.0.0.1", "localhost", "::1", "127.1.2.3")),
        *((host, False) for host in ("0.0.0.0", "::", "192.0.2.7", "lab.example")),
    ],
)
def test_loopback_is_told_from_the_rest(host, loopback):
    assert ui.is_loopback(host) is loopback


def test_an_address_that_is_not_ours_is_a_mistake(store, started):
    with pytest.raises(UserError, match=r"port 54321 of 192\.0\.2\.250 cannot be listened at"):
        ui.serve_page(store, "192.0.2.250", 54321)
    assert not started


def test_the_list_of_runs_opens_on_our_columns(store, started):
    ui.serve_page(store, "127.0.0.1", 54321)
    kept = json.loads(store.client.get_experiment(store.experiment).tags[ui.VIEW_TAG])
    assert kept["selectedColumns"][1:4] == ["tags.`method`", "tags.`oversight`", "tags.`seed`"]
    assert set(kept["selectedColumns"]) < set(kept["columnOrder"]) == set(kept["columnWidths"])


SPY = """
import os, sys

class Spy:
    def find_spec(self, name, path=None, target=None):
        if name in ("prefect", "mlflow"):
            print(name, *(os.environ.get(variable) for variable in sys.argv[1:]))
            sys.exit()

sys.meta_path.insert(0, Spy())
import flows.{module}
"""


@pytest.mark.parametrize("module", ["tracking.store", "compare", "prefect_server.history"])
def test_what_keeps_prefect_and_mlflow_quiet_is_set_before_they_are_imported(module):
    ours = {name: value for name, value in os.environ.items() if name not in process_env.SILENT}
    theirs = {**ours, "PYTHONPATH": str(ROOT), "DO_NOT_TRACK": "no"}
    program = SPY.format(module=module) + "\nfrom flows.tracking.store import Store\nimport mlflow"
    command = [sys.executable, "-c", program, *process_env.SILENT]
    said = subprocess.run(command, env=theirs, capture_output=True, text=True, check=True).stdout.split()
    assert said[0] in ("prefect", "mlflow")
    assert said[1:] == ["no", *list(process_env.SILENT.values())[1:]]  # the user's own value stays


def test_every_library_that_reports_home_is_told_not_to():
    assert {"DO_NOT_TRACK", "MLFLOW_DISABLE_TELEMETRY", "PREFECT_SERVER_ANALYTICS_ENABLED"} <= process_env.SILENT.keys()


@pytest.mark.slow
def test_prefects_pages_ask_the_server_that_they_come_from(tmp_path, monkeypatch):
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    server = Server(tmp_path)
    server.start()
    try:
        server.wait()
        with urllib.request.urlopen(f"{server.page}/ui-settings", timeout=10) as answer:
            assert json.load(answer)["api_url"] == server.url
    finally:
        server.leave()
