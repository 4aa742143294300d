"""Optional parts of a run or sweep: figures, reports and registered models may fail without failing the run."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from flows.text import exception_line

MISSING = "missing"  # tag of a run or sweep: the parts that could not be made, and why
MAX_REASON = 200  # characters of an exception
log = logging.getLogger(__name__)


class Missing:
    """Collects the parts that could not be made; `str()` lists them with their reasons."""

    def __init__(self) -> None:
        self._reasons: dict[str, str] = {}

    def __bool__(self) -> bool:
        return bool(self._reasons)

    def __str__(self) -> str:
        return ", ".join(f"{part} ({reason})" for part, reason in self._reasons.items())

    def add(self, part: str, error: BaseException) -> None:
        """Record that an exception prevented a part from being made."""
        log.info("%s is missing", part, exc_info=error)
        self._reasons[part] = exception_line(error)[:MAX_REASON]

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Make a part inside the block; any exception but an interrupt is recorded and suppressed."""
        try:
            yield
        except Exception as error:
            self.add(name, error)
