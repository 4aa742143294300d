"""A user's mistake is one line: what is named, what was found, what to do. A traceback is for bugs."""

from collections.abc import Iterable
from difflib import get_close_matches


class UserError(Exception):
    """Bad input; its text is the one line that the user reads, and the exit code is 2."""


def nearest_hint(word: str, known: Iterable[str]) -> str:
    """'; did you mean ...?' when something known resembles `word`, else nothing."""
    matches = get_close_matches(word, list(known), n=1)
    return f"; did you mean {matches[0]!r}?" if matches else ""


def unknown_name(kind: str, word: str, known: Iterable[str]) -> UserError:
    """`kind` has no member `word`: names the nearest one, then all."""
    known = list(known)
    return UserError(f"unknown {kind} {word!r}{nearest_hint(word, known)} (one of {', '.join(known)})")


class DeadWorkerError(RuntimeError):
    """The process ended without an answer."""


class FailedJobError(RuntimeError):
    """The job raised: `str()` is its last line, `trace` the whole."""

    def __init__(self, summary: str, trace: str = "") -> None:
        super().__init__(summary)
        self.trace = trace


class StoppedError(RuntimeError):
    """The pool was stopped while, or before, the job ran."""
