"""An MLflow client that waits while its store is locked or does not answer, until the user stops the command.

MLflow's own client repeats a failed request for many minutes without a message. Here a request is repeated for
`RETRY_SECONDS`, one line informs the user, and `stop` ends every wait. Once that time is over, later calls are made
only once, so a sweep ends instead of waiting for each of its runs. After `stop`, an address that has hung gets no more
requests.
"""

import functools
import logging
import os
import threading
import time
from collections.abc import Callable, Mapping
from itertools import count
from typing import Any
from uuid import uuid4

from flows.errors import UserError
from flows.text import one_line
from flows.tracking import local_database
from flows.tracking.database import without_passwords
from flows.tracking.notice import notice

RETRY_SECONDS = 120.0  # longest time that a store may be locked or away
# methods that use the address of the files
TRANSFERS = ("log_artifacts", "download_artifacts", "list_artifacts", "delete_artifacts")
REQUEST = "request"  # tag of a run at a server: identifies the request that created it
TRANSFER_SECONDS = 1800.0  # longest time that they may take, which depends on the files' size
NOTICE_SECONDS = 8.0  # after which a notice says that the store has not answered
STOP_SECONDS = 1.5  # that a request may take once the user has stopped the command
LOCKED = "database is locked"  # SQLite's message; MLflow's exception contains it and has no error code of its own
DAMAGED = ("database disk image is malformed", "file is not a database")  # SQLite's messages
AWAY = (  # parts of the messages of MLflow's HTTP client, of PostgreSQL's driver and of boto3
    "failed with exception",
    "failed with timeout exception",
    "failed with error code 408",
    "failed with error code 429",
    "failed with error code 502",
    "failed with error code 503",
    "failed with error code 504",
    "connection to server at ",
    "failed to resolve host",
    "SSL connection has been closed unexpectedly",
    "server closed the connection",
    "terminating connection",
    "the connection is closed",
    "connection is lost",
    "Could not connect to the endpoint URL",
    "onnect timeout on endpoint URL",
    "Read timeout on endpoint URL",
    "Connection was closed before we received a valid response",
)


class StoreLostError(UserError):
    """The store has not answered for `RETRY_SECONDS`."""


class HungError(ConnectionError):
    """A call has not returned within its time."""


class RetryingClient:
    """Forwards every call to an MLflow client and repeats it while the store is locked or away.

    Args:
        client: MLflow's client.
        name: the store as shown to the user, without a password.
        database: the SQLite file, which a message about damage names; empty for a server.
        remote: whether the store is reached over a network; such a call can hang, so it gets its own thread.

    Attributes:
        files: where the store keeps its runs' files, as shown to the user; empty if nothing is transferred.
    """

    def __init__(self, client: Any, name: str = "the store", remote: bool = False, database: str = "") -> None:
        self._client, self._name, self._remote, self._database = client, name, remote, database
        self.files = ""
        self._stopped = False
        self._lost: set[str] = set()  # addresses
        self._hung: set[str] = set()  # addresses of which a request has hung after `stop`
        self._noticed: set[str] = set()
        self._lock = threading.Lock()
        logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)  # it would print every retry

    def stop(self) -> None:
        """End every wait: the user has stopped the command."""
        self._stopped = True

    def start(self) -> None:
        """Allow waits again, for the next command of this process."""
        self._stopped = False
        self._lost.clear()
        self._hung.clear()

    def __getattr__(self, name: str) -> Any:
        return functools.partial(self._transfer if name in TRANSFERS else self._call, getattr(self._client, name))

    def create_run(self, experiment_id: str, tags: Mapping[str, str], run_name: str | None = None) -> Any:
        """Create a run once, even if the request is repeated because its answer was lost."""
        request = uuid4().hex if self._remote else ""
        attempts = count()

        def create() -> Any:
            if request and next(attempts):
                found = self._client.search_runs([experiment_id], f"tags.{REQUEST} = '{request}'")
                if found:
                    return found[0]
            new = {**tags, REQUEST: request} if request else dict(tags)
            return self._client.create_run(experiment_id, tags=new, run_name=run_name)

        return self._call(create)

    def _transfer(self, method: Callable, *args: Any, **kwargs: Any) -> Any:
        call = functools.partial(method, *args, **kwargs)
        name = self.files or self._name
        slow = f"a transfer with {name} is not finished; waiting up to {TRANSFER_SECONDS:.0f} s"
        return self._repeat(functools.partial(self._in_thread, call, name, TRANSFER_SECONDS, slow), name)

    def _call(self, method: Callable, *args: Any, **kwargs: Any) -> Any:
        call = functools.partial(method, *args, **kwargs)
        in_thread = functools.partial(self._in_thread, call, self._name, RETRY_SECONDS, _away(self._name))
        return self._repeat(in_thread if self._remote else call, self._name)

    def _repeat(self, call: Callable[[], Any], name: str) -> Any:
        """Repeat the call while the store is locked or away."""
        failing_since: float | None = None
        while True:
            try:
                value = call()
            except Exception as error:
                text = str(error)
                if any(part in text for part in DAMAGED):
                    raise UserError(local_database.damaged(self._database or self._name, error)) from None
                if LOCKED not in text and not any(part in text for part in AWAY):
                    raise
                failing_since = failing_since or time.monotonic()
                over = isinstance(error, HungError) or time.monotonic() - failing_since > RETRY_SECONDS
                if over or self._stopped or name in self._lost:
                    if not self._stopped:
                        self._lost.add(name)
                    raise StoreLostError(
                        f"{name} does not answer ({one_line(without_passwords(text), limit=160)})"
                    ) from None
                if LOCKED not in text:
                    self._notice(name, _away(name))
                elif time.monotonic() - failing_since > NOTICE_SECONDS:
                    self._notice(name, f"{name} is locked by another process; waiting up to {RETRY_SECONDS:.0f} s")
            else:
                self._noticed.discard(name)
                return value
            time.sleep(0.2)

    def _in_thread(self, call: Callable[[], Any], name: str, limit: float, text: str) -> Any:
        """Run the call in a thread that is abandoned if the store hangs, or after `limit` seconds."""
        if self._stopped and name in self._hung:
            raise HungError(f"the request {AWAY[0]}: not sent, since an earlier one has hung")
        start = time.monotonic()
        outcome: dict[str, Any] = {}
        ended = threading.Event()

        def run() -> None:
            try:
                outcome["value"] = call()
            except BaseException as error:
                outcome["error"] = error
            ended.set()

        threading.Thread(target=run, daemon=True).start()
        stopping = None
        while not ended.wait(0.2):
            now = time.monotonic()
            if now - start > NOTICE_SECONDS:
                self._notice(name, text)
            stopping = (stopping or now) if self._stopped or name in self._lost else None
            if now - start > limit or (stopping and now - stopping > STOP_SECONDS):
                if self._stopped:
                    self._hung.add(name)
                raise HungError(f"the request {AWAY[0]}: no response")
        if "error" in outcome:
            raise outcome["error"]
        return outcome["value"]

    def _notice(self, name: str, text: str) -> None:
        """Inform the user once that an address does not answer."""
        with self._lock:
            first = name not in self._noticed
            self._noticed.add(name)
        if first and not self._stopped:
            notice(text)


def _away(name: str) -> str:
    return f"{name} does not answer; waiting up to {RETRY_SECONDS:.0f} s"


def use_own_retries() -> None:
    """Leave repeating requests to this module, unless the user has set MLflow's variable."""
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
