"""Standard streams whose errors do not interrupt a command.

A character that the encoding lacks is replaced. After the first error (a closed pipe, a full disk) the stream writes to
nowhere and keeps the error.
"""

import io
import os
import sys

ERRORS = "replace"  # what Python does with characters that an encoding lacks


class TolerantStream(io.TextIOWrapper):
    """A text stream over the buffer of another one.

    Attributes:
        lost: the error that ended the output; None while all of it was written.
    """

    def __init__(self, stream: io.TextIOWrapper) -> None:
        super().__init__(stream.buffer, stream.encoding, ERRORS, None, stream.line_buffering, stream.write_through)
        self.lost: OSError | None = None

    def write(self, text: str) -> int:
        try:
            return super().write(text)
        except OSError as error:
            self._discard(error)
            return len(text)

    def flush(self) -> None:
        try:
            super().flush()
        except OSError as error:
            self._discard(error)

    def _discard(self, error: OSError) -> None:
        """Let the file descriptor lead to nowhere, so that Python can still flush what it holds when it exits."""
        self.lost = self.lost or error
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self.fileno())
        os.close(nowhere)


def make_tolerant() -> None:
    """Make this process's output tolerant; streams that another library has replaced are left alone."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if type(stream) is io.TextIOWrapper:
            os.set_blocking(stream.fileno(), True)  # else a slow reader of a non-blocking pipe ends the output
            setattr(sys, name, TolerantStream(stream))


def lost_output() -> OSError | None:
    """Return the error that cut standard output short, or None; a closed pipe does not count."""
    if isinstance(sys.stdout, TolerantStream):
        sys.stdout.flush()
        if not isinstance(sys.stdout.lost, BrokenPipeError):
            return sys.stdout.lost
    return None


def can_print(text: str) -> bool:
    """Return whether the encoding of standard output has every character of a text."""
    try:
        text.encode(getattr(sys.stdout, "encoding", None) or "utf-8")
    except UnicodeEncodeError:
        return False
    return True
