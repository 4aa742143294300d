"""Runs the project's Prefect server on loopback, on a free port, started when first needed.

Clients share a lock; the last to release it stops the server. A server whose clients were killed is found and reused. A
server that the user names in PREFECT_API_URL is used and never stopped.
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
from pathlib import Path
from typing import IO

import psutil

from flows.errors import UserError
from flows.process_env import SILENT

PAGES_API = "PREFECT_SERVER_UI_API_URL"  # the API address that its pages use; it does not follow --port
START_TIMEOUT = 180.0  # seconds; a first start creates the database: 15 s on an idle machine, minutes on a busy one


class ServerError(UserError):
    """Prefect's server did not start."""


class Server:
    """A client's handle of the project's Prefect server: `start` does not block, `wait` does, `leave` releases it."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.log = home / "server.log"
        self._record = home / "server.json"
        self._users: IO[str] | None = None
        self._child: subprocess.Popen | None = None
        self.url = ""

    def start(self) -> None:
        """Set PREFECT_API_URL to the running server, or start one. Call it before prefect is imported."""
        if url := os.environ.get("PREFECT_API_URL"):
            self.url = url
            return
        self.home.mkdir(parents=True, exist_ok=True)
        with (self.home / ".start.lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            self._users = (self.home / ".users.lock").open("a")
            fcntl.flock(self._users, fcntl.LOCK_SH)
            self.url = self._running() or self._launch()
        os.environ["PREFECT_API_URL"] = self.url

    def wait(self) -> None:
        """Block until the server answers; raise ServerError if it exits or takes longer than `START_TIMEOUT`."""
        start = time.monotonic()
        while not healthy(self.url):
            waited = time.monotonic() - start
            if self._child is not None and self._child.poll() is not None:
                raise ServerError(f"Prefect's server exited at start: {_tail(self.log)} (log: {self.log})")
            if waited > START_TIMEOUT:
                raise ServerError(
                    f"Prefect's server at {self.url} did not answer within {START_TIMEOUT:.0f} s; see {self.log}"
                )
            time.sleep(0.2)

    def leave(self) -> None:
        """Release the server; stop it if no other client uses it."""
        if self._users is None:
            return
        with self._users, suppress(BlockingIOError):
            fcntl.flock(self._users, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._stop()
        self._users = None
        os.environ.pop("PREFECT_API_URL", None)

    @property
    def page(self) -> str:
        """The address of the server's pages."""
        return self.url.removesuffix("/api")

    def found(self) -> str | None:
        """Return the address in PREFECT_API_URL or of the running server; None if there is neither."""
        return os.environ.get("PREFECT_API_URL") or self._running()

    def _running(self) -> str | None:
        with suppress(OSError, ValueError, KeyError, psutil.Error):
            record = json.loads(self._record.read_text())
            if abs(psutil.Process(record["pid"]).create_time() - record["started"]) < 2:
                return record["url"]
        return None

    def _launch(self) -> str:
        port = _free_port()
        command = [
            sys.executable,
            "-m",
            "prefect",
            "server",
            "start",
            "--host",
            "127.0.0.1",
            "--port",
            str(port),
        ]
        url = f"http://127.0.0.1:{port}/api"
        with self.log.open("w") as log:
            self._child = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.home,
                env={PAGES_API: url, **_environment()},
                start_new_session=True,  # Ctrl-C must not reach the server: it still has to record the flow's end
            )
        started = psutil.Process(self._child.pid).create_time()
        self._record.write_text(json.dumps({"url": url, "pid": self._child.pid, "started": started}))
        return url

    def _stop(self) -> None:
        with suppress(OSError, ValueError, KeyError, psutil.Error):
            server = psutil.Process(json.loads(self._record.read_text())["pid"])
            family = [server, *server.children(recursive=True)]
            os.killpg(server.pid, signal.SIGINT)
            _, alive = psutil.wait_procs(family, timeout=10)
            for process in alive:
                process.kill()
        self._record.unlink(missing_ok=True)
        if self._child is not None:
            self._child.wait()


def healthy(url: str) -> bool:
    """Return whether an API answers at `url`."""
    with suppress(OSError, ValueError), urllib.request.urlopen(f"{url}/health", timeout=5) as answer:
        return answer.status == 200
    return False


def _environment() -> dict[str, str]:
    """The server's environment; its output goes to a log file, so our default for the console's level is dropped."""
    level = "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL"
    return {k: v for k, v in os.environ.items() if not (k == level and v == SILENT[level])}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _tail(log: Path) -> str:
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1] if lines else "its log is empty"
