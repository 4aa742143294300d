"""Formats text for a terminal, a table or Markdown."""

import re
from typing import Any


def one_line(text: object, limit: int | None = None) -> str:
    """The text of an exception, or of any object, on one line: each run of white space becomes one space.

    Args:
        text: What `str` is applied to.
        limit: Longest result in characters; None for no limit.
    """
    return " ".join(str(text).split())[:limit]


def exception_line(error: BaseException) -> str:
    """The exception's type and message on one line: "ValueError: size must be at least 2"."""
    return f"{type(error).__name__}: {one_line(error)}".removesuffix(": ")


def nan_to_none(value: Any) -> Any:
    """Replaces nan by None, because JSON has no nan."""
    return None if isinstance(value, float) and value != value else value


def cell_text(value: Any) -> str:
    """Formats a value as the cell of a table."""
    value = nan_to_none(value)
    return "" if value is None else f"{value:.3f}" if isinstance(value, float) else printable(str(value))


def printable(text: str) -> str:
    """Replaces line breaks, tabs and all other characters that control a terminal."""
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text)


def markdown_code(text: str) -> str:
    """Quotes untrusted text as inline code in Markdown."""
    return "`" + printable(text).replace("`", "'") + "`"


def format_duration(seconds: float) -> str:
    """Formats a duration: 4000 seconds are '1 h 07 min'."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


def without_password(address: str) -> str:
    """Replace passwords and tokens in an address by ***."""
    address = re.sub(r"([?&][^=&]*(?:password|passwd|token|secret)[^=&]*=)[^&]*", r"\1***", address, flags=re.I)
    login, at, host = address.rpartition("@")  # not urlsplit: an address with a mistake must not show it either
    user = re.match(r"(\w[\w+.-]*://)?[^:]*:(?!//)", login)
    if at and user:
        return f"{user[0]}***@{host}"
    token = re.match(r"https?://", login)
    return f"{token[0]}***@{host}" if at and token else address
