"""Text from users, made safe for a terminal and for Markdown."""

from typing import Any


def nan_to_none(value: Any) -> Any:
    """None for what is not a number: JSON has no such thing."""
    return None if isinstance(value, float) and value != value else value


def cell_text(value: Any) -> str:
    """A value as the cell of a table."""
    value = nan_to_none(value)
    return "" if value is None else f"{value:.3f}" if isinstance(value, float) else printable(str(value))


def printable(words: str) -> str:
    """The words without line breaks, tabs and what else steers a terminal."""
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in words)


def markdown_code(words: str) -> str:
    """What a user typed, in a text that a page reads as Markdown."""
    return "`" + printable(words).replace("`", "'") + "`"


def format_duration(seconds: float) -> str:
    """4000 seconds are '1 h 07 min'."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
