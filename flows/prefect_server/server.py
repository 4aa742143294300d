"""Prefect keeps history on a server of the project: loopback, a free port, started when first needed.

Whoever uses it holds a shared lock; the last one out turns off the light. A server whose users were
killed is found again and used. One that the user names in PREFECT_API_URL is used and left alone.
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

PAGES_API = "PREFECT_SERVER_UI_API_URL"  # what its pages ask; they do not follow --port
START_TIMEOUT = 180.0  # seconds; a first start makes the database, 15 s on an idle machine and minutes on a busy one


class ServerError(UserError):
    """Prefect's server did not come up."""


class Server:
    """The project's Prefect server: `start` returns at once, `wait` when it answers; `leave` lets it go."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.log = home / "server.log"
        self._record = home / "server.json"
        self._users: IO[str] | None = None
        self._child: subprocess.Popen | None = None
        self.url = ""

    def start(self) -> None:
        """Points Prefect at the server; starts one if none runs. To be called before prefect is imported."""
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
        """Returns when the server answers; raises ServerError if it ends or takes too long."""
        start = time.monotonic()
        while not healthy(self.url):
            waited = time.monotonic() - start
            if self._child is not None and self._child.poll() is not None:
                raise ServerError(f"Prefect's server ended at start: {_tail(self.log)} (all of it: {self.log})")
            if waited > START_TIMEOUT:
                raise ServerError(
                    f"no Prefect server answers at {self.url} within {START_TIMEOUT:.0f} s; see {self.log}"
                )
            time.sleep(0.2)

    def leave(self) -> None:
        """Stops the server if nobody else uses it."""
        if self._users is None:
            return
        with self._users, suppress(BlockingIOError):
            fcntl.flock(self._users, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._stop()
        self._users = None
        os.environ.pop("PREFECT_API_URL", None)

    @property
    def page(self) -> str:
        """Where its pages are."""
        return self.url.removesuffix("/api")

    def found(self) -> str | None:
        """The address of the server that the user names, or of the one that runs; None: there is none."""
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
                start_new_session=True,  # Ctrl-C is for us: the server must hear of the end of the flow
            )
        started = psutil.Process(self._child.pid).create_time()
        self._record.write_text(json.dumps({"url": url, "pid": self._child.pid, "started": started}))
        return url

    def _stop(self) -> None:
        with suppress(OSError, ValueError, KeyError, psutil.Error):
            server = psutil.Process(json.loads(self._record.read_text())["pid"])
            family = [server, *server.children(recursive=True)]
            os.killpg(server.pid, signal.SIGINT)
            _, stubborn = psutil.wait_procs(family, timeout=10)
            for process in stubborn:
                process.kill()
        self._record.unlink(missing_ok=True)
        if self._child is not None:
            self._child.wait()


def healthy(url: str) -> bool:
    """An API answers at `url`."""
    with suppress(OSError, ValueError), urllib.request.urlopen(f"{url}/health", timeout=5) as answer:
        return answer.status == 200
    return False


def _environment() -> dict[str, str]:
    """The child's log goes to a file: there it may speak."""
    hidden = "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL"
    return {k: v for k, v in os.environ.items() if not (k == hidden and v == SILENT[hidden])}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _tail(log: Path) -> str:
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1] if lines else "it said nothing"
