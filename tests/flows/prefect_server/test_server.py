"""The project's server: its port, its clients, and `keyhole server`. A script of a few lines replaces Prefect's."""

import json
import os
import signal
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from flows.cli import server as command
from flows.prefect_server import gateway
from flows.prefect_server.server import Server, ServerError, healthy

SCRIPT = """
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer

class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_):
        pass

open("database", "w").close()
try:
    HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
except KeyboardInterrupt:
    pass
"""


@pytest.fixture
def home(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    script = checkout / "script.py"
    script.write_text(SCRIPT)
    monkeypatch.setattr(gateway, "__file__", str(script))
    return checkout / ".prefect"


def port(server: Server) -> int:
    return int(server.page.rpartition(":")[2])


def start_and_leave(home: Path) -> int:
    """Start a server, wait until it answers, stop it, and return its port."""
    server = Server(home)
    try:
        server.start()
        server.wait()
    finally:
        server.leave()
    assert not healthy(server.url)
    return port(server)


@pytest.fixture
def taken() -> Iterator[int]:
    """A port of loopback at which something else listens."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        yield other.getsockname()[1]


def test_the_server_has_the_same_port_at_each_start(home):
    assert start_and_leave(home) == start_and_leave(home)


def test_a_server_whose_port_is_taken_moves_to_another_and_stays_there(home, taken):
    home.mkdir()
    (home / "server.port").write_text(str(taken))
    moved = start_and_leave(home)
    assert moved != taken
    assert start_and_leave(home) == moved


@pytest.mark.parametrize("text", ["", "port", "-1", "0", "99999999999999999999"])
def test_a_damaged_port_file_is_replaced(home, text):
    home.mkdir()
    (home / "server.port").write_text(text)
    assert str(start_and_leave(home)) == (home / "server.port").read_text()


def test_prefects_folder_database_and_log_can_be_read_by_their_owner_alone(home):
    before = os.umask(0)
    try:
        start_and_leave(home)
    finally:
        os.umask(before)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (home, home / "database", home / "server.log")}
    assert modes == {".prefect": 0o700, "database": 0o600, "server.log": 0o600}


def test_the_last_client_stops_the_server(home):
    first, second = Server(home), Server(home)
    try:
        first.start_own()
        second.start_own()
        assert first.url == second.url
        second.leave()
        first.wait()
    finally:
        second.leave()
        first.leave()
    assert not healthy(first.url)


@pytest.mark.parametrize("interrupted", [False, True])
def test_an_interrupted_command_gives_its_server_less_time_to_end_and_leaves_no_process(home, monkeypatch, interrupted):
    waits = []

    def wait(family, timeout):
        waits.append(timeout)
        return [], family  # none has ended in time

    server = Server(home)
    server.start_own()
    monkeypatch.setattr(psutil, "wait_procs", wait)
    server.leave(interrupted)
    assert waits == [0.7 if interrupted else 3.0]
    assert not healthy(server.url)
    assert server.found_own() is None


def test_a_second_ctrl_c_while_the_server_ends_kills_it(home, monkeypatch):
    def interrupt(family, timeout):
        raise KeyboardInterrupt

    server = Server(home)
    server.start_own()
    monkeypatch.setattr(os, "killpg", lambda *_: None)  # a server that does not end by itself
    monkeypatch.setattr(psutil, "wait_procs", interrupt)
    with pytest.raises(KeyboardInterrupt):
        server.leave(interrupted=True)
    assert server._child is not None
    assert server._child.wait(60) == -signal.SIGKILL


def test_a_running_server_does_not_move_to_a_requested_port(home, taken):
    running, other = Server(home), Server(home)
    try:
        running.start_own()
        with pytest.raises(ServerError, match=f"runs already, at {running.page}; leave out --port"):
            other.start_own(taken)
        other.leave()
        running.wait()
    finally:
        other.leave()
        running.leave()


def test_a_server_of_the_user_is_used_and_not_stopped(home, monkeypatch):
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")
    monkeypatch.setattr("flows.prefect_server.server.healthy", lambda url, timeout=5: True)
    server = Server(home)
    server.start()
    server.leave()
    assert (server.url, os.environ["PREFECT_API_URL"]) == ("http://127.0.0.1:9/api", "http://127.0.0.1:9/api")
    assert not home.exists()


@pytest.mark.parametrize("api", ["", "http://127.0.0.1:9/api"])
def test_keyhole_server_prints_its_address_and_ctrl_c_stops_it(home, keyhole, monkeypatch, api):
    monkeypatch.setenv("PREFECT_API_URL", api)
    usual = start_and_leave(home) if not api else None
    records = []

    def read_record_and_interrupt(_: float) -> None:
        records.append(json.loads((home / "server.json").read_text()))
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "sleep", read_record_and_interrupt)
    code, out, err = keyhole("server")
    address = records[0]["url"].removesuffix("/api")
    assert (code, err) == (0, "")
    assert out.splitlines()[0].startswith(f"Prefect UI: {address} ")
    assert out.endswith("stopped\n")
    assert usual is None or address.endswith(f":{usual}")
    assert not psutil.pid_exists(int(records[0]["pid"]))


def test_keyhole_server_at_a_taken_port_is_a_one_line_error(home, keyhole, taken):
    code, out, err = keyhole("server", "--port", str(taken))
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert f"port {taken} of 127.0.0.1 is in use; pass another --port" in err
    assert not (home / "server.json").exists()


def test_keyhole_server_ends_with_an_error_when_its_server_dies(home, keyhole, monkeypatch):
    def kill(_: float) -> None:
        server = psutil.Process(int(json.loads((home / "server.json").read_text())["pid"]))
        server.kill()
        server.wait()

    monkeypatch.setattr(command, "sleep", kill)
    code, _, err = keyhole("server")
    assert (code, err.count("\n")) == (2, 1)
    assert "ended; see" in err
