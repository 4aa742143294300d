"""An MLflow client that retries while another process holds the database lock."""

import functools
import logging
import time
from collections.abc import Callable
from typing import Any

RETRY_SECONDS = 120.0  # longest time that a database may stay locked
LOCKED = "database is locked"  # SQLite's message; MLflow's exception contains it and has no error code of its own


class RetryingClient:
    """Forwards every call to an MLflow client and repeats it while another process has locked the database."""

    def __init__(self, client: Any) -> None:
        self._client = client
        logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)  # it would print every retry

    def __getattr__(self, name: str) -> Any:
        return functools.partial(self._call, getattr(self._client, name))

    def _call(self, method: Callable, *args: Any, **kwargs: Any) -> Any:
        """Repeat the call while the database is locked; a call refused for the lock has changed nothing."""
        start = time.monotonic()
        while True:
            try:
                return method(*args, **kwargs)
            except Exception as error:
                if LOCKED not in str(error) or time.monotonic() - start > RETRY_SECONDS:
                    raise
            time.sleep(0.2)
