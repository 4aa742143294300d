"""Reads single keys from a terminal, or the characters of a pipe as if each were a key.

The terminal passes every key on at once and echoes none while keys are read. Its settings are restored in every case,
also after Ctrl-C and errors. Ctrl-C keeps its meaning.
"""

import codecs
import os
import select
import sys
import termios
import tty
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

UP, RIGHT, DOWN, LEFT = "up", "right", "down", "left"
END = ""  # the input has ended
ENTER = "\n"
SEQUENCES = {"A": UP, "B": DOWN, "C": RIGHT, "D": LEFT}  # last character of the sequence that an arrow key sends
ESCAPE, INTRODUCERS = "\x1b", "[O"
END_OF_TEXT = "\x04"  # Ctrl-D, which is a key once the terminal passes on single keys
CHUNK = 1024  # bytes
PAUSE = 0.05  # seconds within which the rest of a sequence follows; after it, the key was Escape
NO_CHARACTER = b"\x00"  # disables a control character of the terminal

Keys = Callable[[], str]
"""Returns the next key: a character, the name of an arrow key, or END."""


@contextmanager
def reading_keys(stream: TextIO | None = None) -> Iterator[Keys]:
    """Opens a stream, by default standard input, for reading keys.

    Yields:
        A function that waits for the next key.
    """
    stream = stream or sys.stdin
    if stream is None:  # standard input is closed
        yield lambda: END
    elif not stream.isatty():
        yield KeyReader(lambda: stream.buffer.read1(CHUNK))  # type: ignore[union-attr]  # it is buffered
    else:
        with _single_keys(stream.fileno()) as reader:
            yield reader


@contextmanager
def _single_keys(terminal: int) -> Iterator[Keys]:
    """Lets a terminal pass on single keys; yields the reader."""
    before = termios.tcgetattr(terminal)
    try:
        tty.setcbreak(terminal, termios.TCSADRAIN)
        settings = termios.tcgetattr(terminal)
        settings[6][termios.VQUIT] = NO_CHARACTER  # a process that Ctrl-\ ends cannot restore the terminal
        termios.tcsetattr(terminal, termios.TCSADRAIN, settings)
        yield KeyReader(lambda: os.read(terminal, CHUNK), lambda: bool(select.select([terminal], [], [], PAUSE)[0]))
    finally:
        termios.tcsetattr(terminal, termios.TCSADRAIN, before)


class KeyReader:
    """Splits the bytes of an input into keys."""

    def __init__(self, read: Callable[[], bytes], more_follows: Callable[[], bool] = lambda: True) -> None:
        """Reads from an input.

        Args:
            read: returns the next bytes; none at the end of the input.
            more_follows: whether `read` would return within `PAUSE`.
        """
        self._read, self._more_follows = read, more_follows
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._pending, self._ended = "", False

    def __call__(self) -> str:
        """The next key."""
        while key := self._character():
            if key == END_OF_TEXT:
                return END
            if key != ESCAPE:
                return ENTER if key == "\r" else key
            if arrow := self._arrow():
                return arrow
        return END

    def _character(self) -> str:
        """The next character; empty at the end of the input."""
        while not self._pending and not self._ended:
            read = self._read()
            self._ended = not read
            self._pending = self._decoder.decode(read, final=self._ended)
        character, self._pending = self._pending[:1], self._pending[1:]
        return character

    def _arrow(self) -> str:
        """The arrow key whose sequence follows an escape character; empty for any other key, which is then ignored."""
        if not self._pending and not self._more_follows():
            return ""
        if (first := self._character()) not in INTRODUCERS:
            self._pending = first + self._pending  # Escape, then another key
            return ""
        last = self._character()
        while last and last in "0123456789;":  # parameters, such as those of Shift
            last = self._character()
        return SEQUENCES.get(last, "")
