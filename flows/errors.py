"""Exceptions of this package. A UserError becomes one line on the terminal; a traceback means a bug."""

import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches


@contextmanager
def log_suppressed(logger: logging.Logger, action: str, level: int = logging.WARNING) -> Iterator[None]:
    """Suppresses an exception of the block and logs it on one line, as "ACTION failed: EXCEPTION"."""
    try:
        yield
    except Exception as error:
        logger.log(level, "%s failed: %r", action, error)


class UserError(Exception):
    """Bad input. Its text is the one line that the user reads; the exit code is 2."""


def nearest_hint(word: str, known: Iterable[str]) -> str:
    """Returns "; did you mean 'X'?" if a known name resembles `word`, else an empty string."""
    matches = get_close_matches(word, list(known), n=1)
    return f"; did you mean {matches[0]!r}?" if matches else ""


def unknown_name(kind: str, word: str, known: Iterable[str]) -> UserError:
    """The error for an unknown name: "unknown KIND 'WORD'; did you mean 'X'? one of A, B, C".

    Args:
        kind: What the name should have named, such as "method".
        word: The name that was found.
        known: The valid names, listed in this order.
    """
    known = list(known)
    hint = nearest_hint(word, known) or ";"
    return UserError(f"unknown {kind} {word!r}{hint} one of {', '.join(known) or '(none)'}")


class RegretExceededError(RuntimeError):
    """The unenforceable regret of a world is not shown to be within the limit that was given."""


class DeadWorkerError(RuntimeError):
    """A worker process died before its job returned."""


class FailedJobError(RuntimeError):
    """A job raised an exception. `str()` is the exception on one line; `trace` is the whole traceback."""

    def __init__(self, summary: str, trace: str = "") -> None:
        super().__init__(summary)
        self.trace = trace


class StoppedError(RuntimeError):
    """The pool was stopped before the job finished."""
