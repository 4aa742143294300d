"""Prefect's server on loopback behind a filter that refuses requests of foreign web pages.

Prefect's server answers to any host name, accepts any origin, and parses a body without a content type as JSON. Without
the filter, a web page in the user's browser can change a deployment so that it runs a command, and start it. The filter
relies on headers that browsers set and pages cannot change: Host, Origin and Sec-Fetch-Site. Python clients send no
Origin and no Sec-Fetch-Site.

`flows.prefect_server.server` executes this file as a script, so it imports nothing of keyhole.
"""

import os
import sys
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, NamedTuple

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

HOST = "127.0.0.1"
NAMES = (HOST, "localhost", "[::1]")
OWN_SITES = (b"same-origin", b"none")  # of Sec-Fetch-Site; none: an address that the user typed, or a bookmark
OVERRIDES = {  # other frameworks let them replace the host or the method; no client sends them
    b"forwarded",
    b"x-forwarded-host",
    b"x-original-host",
    b"x-host",
    b"x-http-method-override",
    b"x-http-method",
    b"x-method-override",
}


class Refusal(NamedTuple):
    """Status code and text of the answer to a refused request."""

    status: int
    reason: str


class Gateway:
    """An ASGI application that passes requests of clients and of the server's own pages to `app`.

    Args:
        app: The application to protect.
        port: The port of the server on loopback.
    """

    def __init__(self, app: App, port: int) -> None:
        self.app = app
        self.hosts = frozenset(f"{name}:{port}".encode() for name in NAMES)
        self.main_host = f"{HOST}:{port}".encode()
        self.headers = [  # of every answer: foreign pages cannot embed it, and its pages contact no other server
            (b"x-frame-options", b"SAMEORIGIN"),
            (b"cross-origin-resource-policy", b"same-origin"),
            (b"content-security-policy", b"connect-src 'self' ws://" + self.main_host),
        ]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        headers: dict[bytes, list[bytes]] = {}
        for name, value in scope["headers"]:
            headers.setdefault(name, []).append(value)
        send = self._with_headers(send) if scope["type"] == "http" else send
        if refusal := self.refusal(scope, headers):
            await _refuse(scope, receive, send, refusal)
        elif scope["type"] == "http" and self._is_page_elsewhere(scope, headers):
            await _answer(send, 307, b"", (b"location", b"http://" + self.main_host + _target(scope)))
        else:
            await self.app(scope, receive, send)

    def refusal(self, scope: Scope, headers: dict[bytes, list[bytes]]) -> Refusal | None:
        """Return why the request is refused; None if it passes.

        Args:
            scope: The request, an ASGI scope of type http or websocket.
            headers: All values of each header, by lower-case name.
        """
        host = headers.get(b"host", [])
        if len(host) != 1 or host[0] not in self.hosts:
            return Refusal(421, f"the host must be {self.main_host.decode()}")
        if not scope["path"].startswith("/"):
            return Refusal(421, "the request target must be a path")
        if not OVERRIDES.isdisjoint(headers):
            return Refusal(403, "headers that override the host or the method are not accepted")
        if headers.get(b"origin", [b"http://" + host[0]]) != [b"http://" + host[0]]:
            return Refusal(403, "a page of another origin sent this request")
        if any(site not in OWN_SITES for site in headers.get(b"sec-fetch-site", ())):
            return Refusal(403, f"a page of another site sent this request; enter {self.main_host.decode()} by hand")
        if _has_body(headers) and not _is_json(headers):
            return Refusal(415, "the body must be JSON, with Content-Type: application/json")
        return None

    def _is_page_elsewhere(self, scope: Scope, headers: dict[bytes, list[bytes]]) -> bool:
        """Whether a page is requested under another name: its own requests go to `main_host`, another origin."""
        return headers[b"host"] != [self.main_host] and not scope["path"].startswith("/api/")

    def _with_headers(self, send: Send) -> Send:
        async def send_with_headers(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *self.headers]
            await send(message)

        return send_with_headers


def _has_body(headers: dict[bytes, list[bytes]]) -> bool:
    return b"transfer-encoding" in headers or headers.get(b"content-length", [b"0"]) != [b"0"]


def _is_json(headers: dict[bytes, list[bytes]]) -> bool:
    types = [value.partition(b";")[0].strip().lower() for value in headers.get(b"content-type", ())]
    return types == [b"application/json"]


def _target(scope: Scope) -> bytes:
    query = scope["query_string"]
    return b"/" + scope["raw_path"].lstrip(b"/") + (b"?" + query if query else b"")


async def _refuse(scope: Scope, receive: Receive, send: Send, refusal: Refusal) -> None:
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.close", "code": 1008, "reason": refusal.reason})  # before accept: status 403
    else:
        text = f"refused: {refusal.reason}\n".encode()
        await _answer(send, refusal.status, text, (b"content-type", b"text/plain; charset=utf-8"))


async def _answer(send: Send, status: int, text: bytes, header: tuple[bytes, bytes]) -> None:
    length = (b"content-length", str(len(text)).encode())
    await send({"type": "http.response.start", "status": status, "headers": [header, length]})
    await send({"type": "http.response.body", "body": text})


def run_server(port: int) -> None:
    """Run Prefect's server behind the filter until SIGINT or SIGTERM, like `prefect server start`."""
    os.environ.setdefault("PREFECT_SERVER_CORS_ALLOWED_ORIGINS", f"http://{HOST}:{port}")
    import uvicorn
    from prefect.server.api.server import create_app
    from prefect.settings import get_current_settings

    server = get_current_settings().server
    uvicorn.run(
        Gateway(create_app(final=True), port),
        host=HOST,
        port=port,
        timeout_keep_alive=server.api.keepalive_timeout,
        ws_ping_interval=server.api.websocket_ping_interval,
        ws_ping_timeout=server.api.websocket_ping_timeout,
        log_level=server.logging_level.lower(),
        proxy_headers=False,
    )


if __name__ == "__main__":
    run_server(int(sys.argv[1]))
