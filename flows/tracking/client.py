"""An MLflow client that retries while another process holds the database lock."""

import functools
import logging
import time
from collections.abc import Callable
from typing import Any

RETRY_SECONDS = 120.0  # seconds that a database may stay locked


class RetryingClient:
    """A client of MLflow that waits while another process has locked the database."""

    def __init__(self, client: Any) -> None:
        self._client = client
        logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)  # it would print every wait

    def __getattr__(self, name: str) -> Any:
        return functools.partial(self._call, getattr(self._client, name))

    def _call(self, method: Callable, *args: Any, **kwargs: Any) -> Any:
        """What is refused for the lock has not been done: it can be asked again."""
        start = time.monotonic()
        while True:
            try:
                return method(*args, **kwargs)
            except Exception as error:
                if "database is locked" not in str(error) or time.monotonic() - start > RETRY_SECONDS:
                    raise
            time.sleep(0.2)
