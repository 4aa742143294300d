"""Messages about the store that the user must see while a command goes on."""

import sys

from flows.text import one_line


def notice(text: str) -> None:
    """Print one line to standard error."""
    print(f"keyhole: {one_line(text)}", file=sys.stderr, flush=True)
