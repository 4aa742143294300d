"""An MLflow client that waits while its store is locked or does not answer, and stops waiting when the user does.

MLflow's own client repeats a failed request for many minutes without a message. Here a request is repeated for
`RETRY_SECONDS`, one line informs the user, and `stop` ends every wait. Once that time is over, all later calls
fail at once with StoreLostError, so a sweep ends instead of waiting for each of its runs.
"""

import functools
import logging
import os
import threading
import time
from collections.abc import Callable
from typing import Any

from flows.errors import UserError
from flows.text import one_line
from flows.tracking import local_database
from flows.tracking.database import without_passwords
from flows.tracking.notice import notice

RETRY_SECONDS = 120.0  # longest time that a store may be locked or away
NOTICE_SECONDS = 8.0  # after which a notice names the unanswered request
STOP_SECONDS = 1.5  # that a request may take once the user has stopped the command
LOCKED = "database is locked"  # SQLite's message; MLflow's exception contains it and has no error code of its own
DAMAGED = ("database disk image is malformed", "file is not a database")  # SQLite's messages
AWAY = (  # parts of the messages of MLflow's HTTP client, of PostgreSQL's driver and of boto3
    "failed with exception",
    "failed with error code 502",
    "failed with error code 503",
    "failed with error code 504",
    "connection to server at ",
    "server closed the connection",
    "terminating connection",
    "the connection is closed",
    "connection is lost",
    "Could not connect to the endpoint URL",
)


class StoreLostError(UserError):
    """The store has not answered for `RETRY_SECONDS`."""


class RetryingClient:
    """Forwards every call to an MLflow client and repeats it while the store is locked or away.

    Args:
        client: MLflow's client.
        name: the store as shown to the user, without a password.
        remote: whether the store is reached over a network; such a call can hang, so it gets its own thread.
    """

    def __init__(self, client: Any, name: str = "the store", remote: bool = False) -> None:
        self._client, self._name, self._remote = client, name, remote
        self._stopped, self._lost, self._noticed = False, False, False
        self._lock = threading.Lock()
        logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)  # it would print every retry

    def stop(self) -> None:
        """End every wait: the user has stopped the command."""
        self._stopped = True

    def start(self) -> None:
        """Allow waits again, for the next command of this process."""
        self._stopped = False

    def __getattr__(self, name: str) -> Any:
        return functools.partial(self._call, getattr(self._client, name))

    def _call(self, method: Callable, *args: Any, **kwargs: Any) -> Any:
        """Repeat the call while the store is locked or away."""
        start = time.monotonic()
        call = functools.partial(method, *args, **kwargs)
        while True:
            try:
                value = self._in_thread(call, start) if self._remote else call()
            except Exception as error:
                text = str(error)
                if any(part in text for part in DAMAGED):
                    raise UserError(local_database.damaged(self._name, error)) from None
                if LOCKED not in text and not any(part in text for part in AWAY):
                    raise
                if self._stopped or self._lost or time.monotonic() - start > RETRY_SECONDS:
                    self._lost = self._lost or not self._stopped
                    raise StoreLostError(
                        f"{self._name} does not answer ({one_line(without_passwords(text), limit=160)})"
                    ) from None
                if LOCKED not in text:
                    self._notice()
            else:
                self._noticed = False
                return value
            time.sleep(0.2)

    def _in_thread(self, call: Callable[[], Any], start: float) -> Any:
        """Run the call in a thread that is abandoned if the store hangs."""
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
                self._notice()
            stopping = (stopping or now) if self._stopped or self._lost else None
            if now - start > RETRY_SECONDS or (stopping and now - stopping > STOP_SECONDS):
                raise ConnectionError(f"the request {AWAY[0]}: no response")
        if "error" in outcome:
            raise outcome["error"]
        return outcome["value"]

    def _notice(self) -> None:
        """Tell the user once that the store is away."""
        with self._lock:
            first, self._noticed = not self._noticed, True
        if first and not self._stopped:
            notice(f"{self._name} does not answer; waiting up to {RETRY_SECONDS:.0f} s")


def use_own_retries() -> None:
    """Leave repeating requests to this module, unless the user has set MLflow's variable."""
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
