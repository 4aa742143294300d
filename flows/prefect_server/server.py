"""Runs the project's Prefect server on loopback, started when first needed.

Clients share a lock; the last to release it stops the server. A server whose clients were killed is found and reused. A
server that the user names in PREFECT_API_URL is used and never stopped. The server runs behind the filter in
`flows.prefect_server.gateway`. Its port is remembered in the project and changes only if another process has taken it.
"""

import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import suppress
from http.client import HTTPException
from pathlib import Path
from typing import IO

import psutil

from flows.errors import UserError
from flows.prefect_server import gateway
from flows.process_env import SILENT
from flows.text import without_password
from flows.tracking.process_owner import is_alive, owner_tags

PAGES_API = "PREFECT_SERVER_UI_API_URL"  # the API address that its pages use; it does not follow --port
FOREIGN_TIMEOUT = 4.0  # seconds for a server that the user names in PREFECT_API_URL
STOP_TIMEOUT = 3.0  # seconds until the server is killed; its database survives that
INTERRUPTED_STOP_TIMEOUT = 0.7  # the same after Ctrl-C, which has to end the command within 5 s
START_TIMEOUT = 180.0  # seconds; a first start creates the database: 15 s on an idle machine, minutes on a busy one


class ServerError(UserError):
    """Prefect's server did not start."""


class Server:
    """A client's handle of the project's Prefect server: `start` does not block, `wait` does, `leave` releases it."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.log = home / "server.log"
        self._record = home / "server.json"
        self._port = home / "server.port"
        self._users: IO[str] | None = None
        self._child: subprocess.Popen | None = None
        self.url = ""

    def start(self) -> None:
        """Set PREFECT_API_URL to the running server, or start one. Call it before prefect is imported."""
        if url := os.environ.get("PREFECT_API_URL"):
            self.url = url
            self._check_foreign()
            return
        self.start_own()
        os.environ["PREFECT_API_URL"] = self.url

    def start_own(self, port: int | None = None) -> None:
        """Start the project's server, or share the running one, whatever PREFECT_API_URL is.

        Args:
            port: The port to bind. None: that of the last start, or a free one.

        Raises:
            ServerError: The port is taken, or the project's server runs on another one.
        """
        self.home.mkdir(mode=0o700, parents=True, exist_ok=True)
        with (self.home / ".start.lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            self._users = (self.home / ".users.lock").open("a")
            fcntl.flock(self._users, fcntl.LOCK_SH)
            self.url = self.found_own() or self._launch(port)
        if port is not None and self.url != _url(port):
            raise ServerError(f"the project's Prefect server runs already, at {self.page}; leave out --port")

    def _check_foreign(self) -> None:
        """Raise ServerError if the server that the user names does not answer within seconds."""
        start = time.monotonic()
        while not healthy(self.url, timeout=FOREIGN_TIMEOUT):
            if time.monotonic() - start > FOREIGN_TIMEOUT:
                raise unanswered(self.url)
            time.sleep(0.2)

    def wait(self) -> None:
        """Block until the server answers; raise ServerError if it exits or takes longer than `START_TIMEOUT`."""
        start = time.monotonic()
        while not healthy(self.url):
            waited = time.monotonic() - start
            if self._child is not None and self._child.poll() is not None:
                raise ServerError(f"Prefect's server exited at start: {_tail(self.log)} (log: {self.log})")
            if self._child is None and self._users is not None and self.found_own() is None:
                raise ServerError(f"Prefect's server exited; run the command again (log: {self.log})")
            if waited > START_TIMEOUT:
                raise ServerError(
                    f"Prefect's server at {self.url} did not answer within {START_TIMEOUT:.0f} s; see {self.log}"
                )
            time.sleep(0.2)

    def leave(self, interrupted: bool = False) -> None:
        """Release the server; stop it if no other client uses it.

        Args:
            interrupted: Whether the user has stopped the command, so that the server gets less time to end by itself.
        """
        if self._users is None:
            return
        with self._users, suppress(BlockingIOError):
            fcntl.flock(self._users, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._stop(INTERRUPTED_STOP_TIMEOUT if interrupted else STOP_TIMEOUT)
        self._users = None
        os.environ.pop("PREFECT_API_URL", None)

    @property
    def page(self) -> str:
        """The address of the server's pages."""
        return self.url.removesuffix("/api")

    def found_own(self) -> str | None:
        """Return the address of the project's running server; None if there is none."""
        record = self._read_record()
        alive = is_alive(record)
        return record["url"] if alive or (alive is None and "url" in record and healthy(record["url"])) else None

    def _read_record(self) -> dict[str, str]:
        """Read the address and process of the server that was started last; records of earlier versions too."""
        with suppress(OSError, ValueError, AttributeError):
            record = json.loads(self._record.read_text())
            record |= {"process_started": record["started"]} if "started" in record else {}
            return {"host": socket.gethostname(), **{name: str(value) for name, value in record.items()}}
        return {"host": socket.gethostname()}

    def _launch(self, port: int | None) -> str:
        if port is None:
            port = self._usual_port()
        elif not _is_free(port):
            raise ServerError(f"port {port} of {gateway.HOST} is in use; pass another --port")
        self._port.write_text(str(port))
        url = _url(port)
        # -P: neither the current directory nor that of the script may hide a library
        command = [sys.executable, "-P", gateway.__file__, str(port)]
        with open(self.log, "w", opener=_private) as log:
            self._child = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.home,
                env={PAGES_API: url, **_environment()},
                umask=0o077,  # its database is private
                start_new_session=True,  # Ctrl-C must not reach the server: it still has to record the flow's end
            )
        with open(self._record, "w", opener=_private) as record:
            json.dump({"url": url, **owner_tags(self._child.pid), "pid": self._child.pid}, record)
        return url

    def _usual_port(self) -> int:
        """Return the port of the last start if it is free, else any free port."""
        with suppress(OSError, ValueError, OverflowError):
            port = int(self._port.read_text())
            if port > 0 and _is_free(port):
                return port
        return _free_port()

    def _stop(self, timeout: float) -> None:
        record = self._read_record()
        if is_alive(record):  # else its number may belong to another process by now
            with suppress(OSError, psutil.Error):
                server = psutil.Process(int(record["pid"]))
                family = [server, *server.children(recursive=True)]
                os.killpg(server.pid, signal.SIGINT)
                try:
                    _, family = psutil.wait_procs(family, timeout=timeout)
                finally:  # also if a second Ctrl-C ends the wait
                    for process in family:
                        with suppress(psutil.NoSuchProcess):
                            process.kill()
        self._record.unlink(missing_ok=True)
        if self._child is not None:
            self._child.wait()


def unanswered(url: str) -> ServerError:
    """The error that no server answers at the address in PREFECT_API_URL."""
    return ServerError(
        f"PREFECT_API_URL: no Prefect server answers at {without_password(url)}; "
        "start it, or unset the variable to use the project's own"
    )


def healthy(url: str, timeout: float = 5) -> bool:
    """Return whether an API answers at `url` within `timeout` seconds."""
    with (
        suppress(OSError, ValueError, HTTPException),
        urllib.request.urlopen(f"{url}/health", timeout=timeout) as answer,
    ):
        return answer.status == 200
    return False


def is_up() -> bool:
    """Return whether the server in PREFECT_API_URL answers; True if there is none, as in tests with Prefect's own."""
    url = os.environ.get("PREFECT_API_URL")
    return not url or healthy(url)


def _environment() -> dict[str, str]:
    """The server's environment; its output goes to a log file, so our default for the console's level is dropped."""
    level = "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL"
    return {
        name: value
        for name, value in os.environ.items()
        if name != "PREFECT_API_URL" and not (name == level and value == SILENT[level])
    }


def _url(port: int) -> str:
    return f"http://{gateway.HOST}:{port}/api"


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the server does: else a restart finds it taken
        with suppress(OSError):
            probe.bind((gateway.HOST, port))
            return True
    return False


def _private(path: str, flags: int) -> int:
    """Open a file so that only its owner can read it if it is new."""
    return os.open(path, flags, 0o600)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((gateway.HOST, 0))
        return probe.getsockname()[1]


def _tail(log: Path) -> str:
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1] if lines else "its log is empty"
