"""The gateway refuses requests of foreign web pages and passes those of clients and of the server's own pages."""

import asyncio
from typing import Any

import pytest

from flows.prefect_server.gateway import Gateway
from tests.flows.prefect_server.requests_table import (
    PASSED,
    PASSED_SOCKETS,
    REFUSED,
    REFUSED_SOCKETS,
    Request,
)

PORT = 4321
Headers = list[tuple[str, str]]


def send(scope: dict[str, Any]) -> tuple[list[str], list[dict[str, Any]]]:
    """Send a request through a gateway; return the paths that reached the application and the answer's messages."""
    reached: list[str] = []
    messages: list[dict[str, Any]] = []

    async def app(scope, receive, send) -> None:
        reached.append(scope["path"])
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def receive() -> dict[str, Any]:
        return {"type": f"{scope['type']}.connect"}

    async def collect(message) -> None:
        messages.append(message)

    asyncio.run(Gateway(app, PORT)(scope, receive, collect))
    return reached, messages


def http_scope(method: str, target: str, headers: Headers) -> dict[str, Any]:
    path, _, query = target.format(port=PORT).partition("?")
    return {
        "type": "http",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "headers": encoded(headers),
    }


def encoded(headers: Headers) -> list[tuple[bytes, bytes]]:
    return [(name.lower().encode(), value.format(port=PORT).encode()) for name, value in headers]


def scope_of(request: Request) -> dict[str, Any]:
    length = [("content-length", "9")] if request.body and "transfer-encoding" not in request.headers else []
    headers = [("host", request.host), *length, *request.headers.items()]
    return http_scope(request.method, request.target or "/api/deployments/", headers)


def socket_scope(headers: dict[str, str]) -> dict[str, Any]:
    defaults = {"host": "127.0.0.1:{port}", "upgrade": "websocket"}
    return {"type": "websocket", "path": "/api/events/in", "headers": encoded([*{**defaults, **headers}.items()])}


@pytest.mark.parametrize("name", REFUSED)
def test_a_request_that_a_foreign_page_can_cause_is_refused(name):
    status, request = REFUSED[name]
    reached, (start, _) = send(scope_of(request))
    assert (reached, start["status"]) == ([], status)
    assert not any(header.startswith(b"access-control") for header, _ in start["headers"])


@pytest.mark.parametrize("hosts", [0, 2])
def test_a_request_without_exactly_one_host_is_refused(hosts):
    reached, (start, _) = send(http_scope("GET", "/api/health", [("host", "127.0.0.1:{port}")] * hosts))
    assert (reached, start["status"]) == ([], 421)


@pytest.mark.parametrize("name", PASSED)
def test_requests_of_clients_and_of_own_pages_pass(name):
    reached, (start,) = send(scope_of(PASSED[name]))
    assert (len(reached), start["status"]) == (1, 200)


@pytest.mark.parametrize("name", REFUSED_SOCKETS)
def test_a_websocket_of_a_foreign_page_is_refused_before_it_is_accepted(name):
    reached, messages = send(socket_scope(REFUSED_SOCKETS[name]))
    assert reached == []
    assert [message["type"] for message in messages] == ["websocket.close"]


@pytest.mark.parametrize("name", PASSED_SOCKETS)
def test_websockets_of_clients_and_of_own_pages_pass(name):
    assert send(socket_scope(PASSED_SOCKETS[name]))[0] == ["/api/events/in"]


@pytest.mark.parametrize("host", ["localhost", "[::1]"])
@pytest.mark.parametrize(
    ("target", "path"), [("/", "/"), ("/runs?tab=a", "/runs?tab=a"), ("//evil.example/runs", "/evil.example/runs")]
)
def test_a_page_under_another_name_redirects_to_the_origin_of_the_api(host, target, path):
    reached, (start, _) = send(http_scope("GET", target, [("host", host + ":{port}")]))
    assert (reached, start["status"]) == ([], 307)
    assert dict(start["headers"])[b"location"] == f"http://127.0.0.1:{PORT}{path}".encode()


@pytest.mark.parametrize("request_", [PASSED["a client that reads"], REFUSED["cross-site"][1]], ids=["own", "foreign"])
def test_no_answer_can_be_framed_or_embedded_and_no_page_contacts_another_server(request_):
    headers = dict(send(scope_of(request_))[1][0]["headers"])
    assert headers[b"x-frame-options"] == b"SAMEORIGIN"
    assert headers[b"cross-origin-resource-policy"] == b"same-origin"
    assert headers[b"content-security-policy"] == b"connect-src 'self' ws://127.0.0.1:4321"


def test_the_start_and_end_of_the_application_pass():
    reached = []

    async def app(scope, receive, send) -> None:
        reached.append(scope["type"])

    asyncio.run(Gateway(app, PORT)({"type": "lifespan"}, None, None))
    assert reached == ["lifespan"]
