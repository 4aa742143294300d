"""Requests that the gateway refuses and requests that it passes, for the tests of the filter and of the real server."""

from dataclasses import dataclass, field

JSON = {"content-type": "application/json"}
TEXT = {"content-type": "text/plain"}
CROSS_SITE = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors"}


@dataclass(frozen=True)
class Request:
    """An HTTP request; `{port}` in a header or the target is the server's port."""

    headers: dict[str, str] = field(default_factory=dict)
    method: str = "POST"
    target: str = ""
    """Empty: the address that re-posts a deployment."""
    host: str = "127.0.0.1:{port}"
    body: bool = True


def page(origin: str, **more: str) -> Request:
    return Request({**JSON, "origin": origin, **more})


def read(**headers: str) -> Request:
    return Request({name.replace("_", "-"): value for name, value in headers.items()}, "GET", "/api/health", body=False)


def at(host: str) -> Request:
    return Request(JSON, host=host)


REFUSED = {
    "text/plain": (415, Request(TEXT)),
    "text/plain of a foreign page": (403, Request({**TEXT, **CROSS_SITE, "origin": "http://evil.example"})),
    "text/plain with JSON as parameter": (415, Request({"content-type": "text/plain; application/json"})),
    "form": (415, Request({"content-type": "application/x-www-form-urlencoded"})),
    "multipart": (415, Request({"content-type": "multipart/form-data; boundary=x"})),
    "no content type": (415, Request()),
    "empty content type": (415, Request({"content-type": ""})),
    "other JSON type": (415, Request({"content-type": "application/vnd.api+json"})),
    "two content types": (415, Request({"content-type": "application/json", "Content-Type": "text/plain"})),
    "PUT of text": (415, Request(TEXT, "PUT")),
    "body without its length": (415, Request({**TEXT, "transfer-encoding": "chunked"})),
    "null origin": (403, page("null")),
    "empty origin": (403, page("")),
    "foreign origin": (403, page("http://evil.example")),
    "origin of another port": (403, page("http://127.0.0.1:1")),
    "origin without port": (403, page("http://127.0.0.1")),
    "origin of another scheme": (403, page("https://127.0.0.1:{port}")),
    "origin of another name": (403, page("http://localhost:{port}")),
    "origin that starts like ours": (403, page("http://127.0.0.1:{port}.evil.example")),
    "two origins": (403, page("http://127.0.0.1:{port}", Origin="http://evil.example")),
    "own origin, cross-site": (403, page("http://127.0.0.1:{port}", **CROSS_SITE)),
    "preflight": (403, Request({"origin": "http://evil.example"}, "OPTIONS", body=False)),
    "cross-site": (403, Request({**JSON, **CROSS_SITE})),
    "same-site": (403, Request({**JSON, "sec-fetch-site": "same-site"})),
    "unknown site": (403, Request({**JSON, "sec-fetch-site": "elsewhere"})),
    "read by a foreign page": (403, read(sec_fetch_site="cross-site")),
    "read by a foreign page with CORS": (403, read(origin="http://evil.example")),
    "foreign host": (421, at("evil.example")),
    "rebound host": (421, at("evil.example:{port}")),
    "rebound own page": (421, Request({**JSON, "origin": "http://evil.example:{port}"}, host="evil.example:{port}")),
    "empty host": (421, at("")),
    "host with a trailing dot": (421, at("localhost.:{port}")),
    "host in upper case": (421, at("LOCALHOST:{port}")),
    "host with userinfo": (421, at("127.0.0.1:{port}@evil.example")),
    "host behind userinfo": (421, at("evil.example@127.0.0.1:{port}")),
    "host without port": (421, at("127.0.0.1")),
    "host of another port": (421, at("127.0.0.1:80")),
    "host of all interfaces": (421, at("0.0.0.0:{port}")),
    "host in short form": (421, at("127.1:{port}")),
    "host as mapped address": (421, at("[::ffff:127.0.0.1]:{port}")),
    "two hosts in one header": (421, at("127.0.0.1:{port}, evil.example")),
    "foreign host behind a forwarded one": (
        421,
        Request({"x-forwarded-host": "127.0.0.1:{port}"}, host="evil.example"),
    ),
    "forwarded host": (403, Request({**JSON, "x-forwarded-host": "evil.example"})),
    "forwarded": (403, Request({**JSON, "forwarded": "host=evil.example"})),
    "absolute target": (421, Request(JSON, target="http://127.0.0.1:{port}/api/deployments/")),
    "foreign absolute target": (421, Request(JSON, target="http://evil.example/api/deployments/")),
    "target of a server": (421, Request(method="OPTIONS", target="*", body=False)),
    "method override": (403, read(x_http_method_override="DELETE")),
    "method override of a foreign page": (403, read(x_method_override="DELETE", origin="http://evil.example")),
    "second method override": (403, read(x_http_method="DELETE")),
}
PASSED = {
    "a client": Request(JSON),
    "a client with a charset": Request({"content-type": "Application/JSON; charset=utf-8"}),
    "a client at localhost": Request(JSON, host="localhost:{port}"),
    "a client at ::1": Request(JSON, host="[::1]:{port}"),
    "a client without a body": Request(method="DELETE", target="/api/variables/name/absent", body=False),
    "a client that reads": read(),
    "the page": page("http://127.0.0.1:{port}", **{"sec-fetch-site": "same-origin"}),
    "the page at localhost": Request({**JSON, "origin": "http://localhost:{port}"}, host="localhost:{port}"),
    "the page that reads": read(sec_fetch_site="same-origin"),
    "the address bar": read(sec_fetch_site="none", sec_fetch_mode="navigate"),
}
REFUSED_SOCKETS = {
    "foreign origin": {"origin": "http://evil.example"},
    "null origin": {"origin": "null"},
    "origin of another port": {"origin": "http://127.0.0.1:1"},
    "origin of a websocket": {"origin": "ws://127.0.0.1:{port}"},
    "foreign host": {"host": "evil.example:{port}"},
    "rebound page": {"host": "evil.example:{port}", "origin": "http://evil.example:{port}"},
    "host without port": {"host": "127.0.0.1"},
    "cross-site": {"sec-fetch-site": "cross-site"},
    "same-site": {"sec-fetch-site": "same-site"},
    "forwarded host": {"x-forwarded-host": "evil.example"},
}
PASSED_SOCKETS = {
    "a client": {},
    "a client at localhost": {"host": "localhost:{port}"},
    "the page": {"origin": "http://127.0.0.1:{port}", "sec-fetch-site": "same-origin"},
}
