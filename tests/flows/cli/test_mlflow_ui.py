"""The page binds to loopback by default, warns when it does not, and no library sends telemetry."""

import json
import os
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from flows import process_env
from flows.cli import mlflow_ui
from flows.errors import UserError
from flows.prefect_server.server import Server
from flows.tracking.runs_view import VIEW, VIEW_TAG, view

ROOT = Path(__file__).parents[3]


@pytest.fixture
def started(monkeypatch):
    """The commands that would have replaced this process."""
    commands: list[list[str]] = []
    monkeypatch.setattr(os, "execv", lambda path, command: commands.append(command))
    for name in mlflow_ui.allowed_hosts([], 0):
        monkeypatch.setenv(name, "")  # restores the variable after the test
        monkeypatch.delenv(name)
    return commands


def test_the_page_binds_to_loopback_without_a_warning(store, started, capsys):
    mlflow_ui.serve_page(store, "127.0.0.1", 54321)
    out, err = capsys.readouterr()
    assert started[0][started[0].index("--host") + 1] == "127.0.0.1"
    assert err == ""
    assert "http://127.0.0.1:54321/#/experiments/1/runs?" in out
    assert not os.environ.keys() & mlflow_ui.allowed_hosts([], 0).keys()


def test_a_public_page_is_announced_by_one_warning_and_answers_only_to_this_machines_names(store, started, capsys):
    mlflow_ui.serve_page(store, "0.0.0.0", 54321)
    _, err = capsys.readouterr()
    assert err.startswith("keyhole: warning: anyone who can reach 0.0.0.0:54321")
    assert err.count("\n") == 1
    hosts = os.environ["MLFLOW_SERVER_ALLOWED_HOSTS"].split(",")
    assert "localhost:54321" in hosts
    assert not [host for host in hosts if "*" in host]
    assert os.environ["MLFLOW_SERVER_CORS_ALLOWED_ORIGINS"].split(",") == [f"http://{host}" for host in hosts]


def test_the_users_own_list_of_hosts_is_kept(store, started, monkeypatch):
    monkeypatch.setenv("MLFLOW_SERVER_ALLOWED_HOSTS", "lab.example")
    mlflow_ui.serve_page(store, "0.0.0.0", 54321)
    assert os.environ["MLFLOW_SERVER_ALLOWED_HOSTS"] == "lab.example"


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        *((host, True) for host in ("127.0.0.1", "localhost", "::1", "127.1.2.3")),
        *((host, False) for host in ("0.0.0.0", "::", "192.0.2.7", "lab.example")),
    ],
)
def test_only_loopback_addresses_are_loopback(host, loopback):
    assert mlflow_ui.is_loopback(host) is loopback


def test_an_address_of_another_machine_is_rejected(store, started):
    with pytest.raises(UserError, match=r"cannot bind port 54321 of 192\.0\.2\.250"):
        mlflow_ui.serve_page(store, "192.0.2.250", 54321)
    assert not started


def test_the_list_of_runs_opens_on_our_columns(store, started):
    mlflow_ui.serve_page(store, "127.0.0.1", 54321)
    kept = json.loads(store.client.get_experiment(store.experiment).tags[VIEW_TAG])
    assert kept["selectedColumns"][1:4] == ["tags.`method`", "tags.`oversight`", "tags.`seed`"]
    assert "--app-name" not in started[0] or started[0][started[0].index("--app-name") + 1] == "keyhole"
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
def test_the_variables_that_silence_prefect_and_mlflow_are_set_before_their_import(module):
    ours = {name: value for name, value in os.environ.items() if name not in process_env.SILENT}
    theirs = {**ours, "PYTHONPATH": str(ROOT), "DO_NOT_TRACK": "no"}
    program = SPY.format(module=module) + "\nfrom flows.tracking.store import Store\nimport mlflow"
    command = [sys.executable, "-c", program, *process_env.SILENT]
    output = subprocess.run(command, env=theirs, capture_output=True, text=True, check=True).stdout.split()
    assert output[0] in ("prefect", "mlflow")
    assert output[1:] == ["no", *list(process_env.SILENT.values())[1:]]  # the user's own value stays


def test_telemetry_of_every_library_is_disabled():
    assert {"DO_NOT_TRACK", "MLFLOW_DISABLE_TELEMETRY", "PREFECT_SERVER_ANALYTICS_ENABLED"} <= process_env.SILENT.keys()


@pytest.mark.slow
def test_prefects_pages_query_the_server_that_serves_them(tmp_path, monkeypatch):
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    server = Server(tmp_path)
    server.start()
    try:
        server.wait()
        with urllib.request.urlopen(f"{server.page}/ui-settings", timeout=10) as answer:
            assert json.load(answer)["api_url"] == server.url
    finally:
        server.leave()


def test_mlflows_page_reads_the_tag_and_the_keys_of_our_view():
    import mlflow.server

    scripts = Path(mlflow.server.__file__).parent.glob("js/build/static/js/*.js")
    code = "".join(script.read_text(encoding="utf-8") for script in scripts)
    assert f'"{VIEW_TAG.removesuffix(VIEW)}"' in code
    assert [key for key in view() if key not in code] == []
    assert "viewStateShareKey" in code
