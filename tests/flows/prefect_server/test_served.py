"""The project's real server: attacks of web pages change nothing; clients, pages and websockets work."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from flows.prefect_server.server import Server, healthy
from tests.flows.prefect_server.requests_table import (
    JSON,
    PASSED,
    PASSED_SOCKETS,
    REFUSED,
    REFUSED_SOCKETS,
    Request,
)

ROOT = Path(__file__).parents[3]
pytestmark = pytest.mark.slow


class Target(NamedTuple):
    """A running server and the deployment that the attacks try to change."""

    server: Server
    flow: str
    deployment: str

    @property
    def port(self) -> int:
        return int(self.server.page.rpartition(":")[2])

    def call(self, path: str, body: dict[str, Any]) -> Any:
        return call(self.server, path, body)

    def state(self) -> Any:
        """Everything that an attack could change."""
        flows, deployments = self.call("flows/filter", {}), self.call("deployments/filter", {})
        changed = [(one["pull_steps"], one["paused"], one["updated"]) for one in deployments]
        return len(flows), changed, self.call("flow_runs/count", {}), self.call("events/filter", {"filter": EVIL})


EVIL = {"event": {"name": ["evil"]}, "order": "ASC"}


def call(server: Server, path: str, body: dict[str, Any]) -> Any:
    request = urllib.request.Request(f"{server.url}/{path}", json.dumps(body).encode(), JSON)
    for _ in range(20):
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            if error.code != 503:  # a locked database, which Prefect's clients try again, too
                raise
            time.sleep(1)
    raise TimeoutError(f"the server's database stayed locked for {path}")


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    home = tmp_path_factory.mktemp("prefect")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PREFECT_API_URL", "")
        patch.setenv("PREFECT_HOME", str(home))
        server = Server(home)
        server.start()
        try:
            server.wait()
            flow = call(server, "flows/", {"name": "compare"})["id"]
            yield Target(server, flow, call(server, "deployments/", {"name": "nightly", "flow_id": flow})["id"])
        finally:
            server.leave()


def exchange(port: int, start: str, headers: list[tuple[str, str]], body: bytes = b"") -> tuple[int, str]:
    """Send raw bytes, as no HTTP library would; return the status and the rest of the first part of the answer."""
    lines = [start, *(f"{name}: {value}" for name, value in headers)]
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall("\r\n".join([*lines, "", ""]).format(port=port).encode() + body)
        answer = b""
        while b"\r\n\r\n" not in answer and (part := connection.recv(65536)):
            answer += part
    return int(answer.split(b" ", 2)[1]), answer.decode()


def attack_body(target: Target) -> bytes:
    """The deployment with a step that runs a command."""
    step = {"prefect.deployments.steps.run_shell_script": {"script": "touch owned"}}
    return json.dumps({"name": "nightly", "flow_id": target.flow, "pull_steps": [step]}).encode()


def ask(target: Target, request: Request, body: bytes) -> int:
    body = body if request.body else b""
    headers = [("Host", request.host), ("Connection", "close"), *request.headers.items()]
    if "transfer-encoding" in request.headers:
        body = f"{len(body):x}\r\n".encode() + body + b"\r\n0\r\n\r\n"
    elif body:
        headers.append(("Content-Length", str(len(body))))
    path = request.target or "/api/deployments/"
    return exchange(target.port, f"{request.method} {path} HTTP/1.1", headers, body)[0]


def open_socket(target: Target, headers: dict[str, str]) -> int:
    upgrade = {"host": "127.0.0.1:{port}", "connection": "Upgrade", "upgrade": "websocket"}
    upgrade |= {"sec-websocket-version": "13", "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ=="}
    return exchange(target.port, "GET /api/events/in HTTP/1.1", [*{**upgrade, **headers}.items()])[0]


@pytest.mark.parametrize("name", REFUSED)
def test_an_attack_is_refused_and_changes_nothing(target, name):
    status, request = REFUSED[name]
    before = target.state()
    assert ask(target, request, attack_body(target)) == status
    assert target.state() == before


def test_a_foreign_page_cannot_start_or_pause_a_deployment(target):
    before = target.state()
    for action in ("create_flow_run", "pause_deployment", "schedule"):
        start = f"POST /api/deployments/{target.deployment}/{action} HTTP/1.1"
        page = [("Host", f"127.0.0.1:{target.port}"), ("Origin", "http://evil.example"), ("Content-Length", "2")]
        assert exchange(target.port, start, [*page, ("Content-Type", "text/plain")], b"{}")[0] == 403
    assert target.state() == before


@pytest.mark.parametrize("name", PASSED)
def test_clients_and_own_pages_are_served(target, name):
    request = PASSED[name]
    request = replace(request, target=request.target or "/api/flows/")
    assert ask(target, request, b'{"name": "compare"}') in ((404,) if request.method == "DELETE" else (200, 201))


@pytest.mark.parametrize("name", REFUSED_SOCKETS)
def test_a_websocket_of_a_foreign_page_is_refused(target, name):
    assert open_socket(target, REFUSED_SOCKETS[name]) == 403


@pytest.mark.parametrize("name", PASSED_SOCKETS)
def test_a_websocket_of_a_client_or_of_the_own_page_opens(target, name):
    assert open_socket(target, PASSED_SOCKETS[name]) == 101


def test_prefects_page_loads_and_lets_no_other_page_frame_it(target):
    request = urllib.request.Request(f"{target.server.page}/runs", headers={"Accept": "text/html"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        assert answer.headers["X-Frame-Options"] == "SAMEORIGIN"
        assert b"Prefect" in answer.read()
    with urllib.request.urlopen(f"{target.server.page}/ui-settings", timeout=30) as answer:
        assert json.load(answer)["api_url"] == target.server.url


def test_prefects_python_client_sends_and_receives_events_through_websockets(target):
    from prefect.events import Event
    from prefect.events.clients import PrefectEventsClient, PrefectEventSubscriber

    event = Event(event="keyhole.test", resource={"prefect.resource.id": "keyhole.test"})

    async def send_and_receive() -> str:
        async with PrefectEventSubscriber(target.server.url) as subscriber:
            async with PrefectEventsClient(target.server.url) as client:
                await client.emit(event)
            async for received in subscriber:
                if received.id == event.id:
                    return received.event
        return ""

    assert asyncio.run(asyncio.wait_for(send_and_receive(), 60)) == "keyhole.test"


def test_keyhole_server_shares_the_running_server_until_ctrl_c(target, tmp_path):
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT", "KEYHOLE"))}
    environment |= {"PREFECT_HOME": str(target.server.home), "PREFECT_API_URL": "http://127.0.0.1:9/api"}
    with subprocess.Popen(
        [sys.executable, "-m", "flows", "server"], cwd=tmp_path, env={**environment, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE, text=True, start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    ) as serving:  # fmt: skip
        assert serving.stdout is not None
        assert serving.stdout.readline().startswith(f"Prefect UI: {target.server.page} ")
        assert serving.stdout.readline() == "Ctrl-C stops the server.\n"
        serving.send_signal(signal.SIGINT)
        assert "other processes of keyhole use" in serving.stdout.read()
    assert serving.returncode == 0
    assert healthy(target.server.url)
