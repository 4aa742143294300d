"""The error for an unknown name: the word that was given, the nearest known name, and the known names."""

import difflib
from collections.abc import Iterable


def unknown_name(kind: str, name: str, known: Iterable[str], shown: int = 8) -> ValueError:
    """Build the error for an unknown name; the caller raises it.

    Its text is `unknown KIND 'WORD'; did you mean 'X'? one of A, B, C`, or without a near name
    `unknown KIND 'WORD'; one of A, B, C`.

    Args:
        kind: the kind of thing the name refers to, such as "region".
        name: the unknown name.
        known: the valid names.
        shown: the largest number of valid names to list.

    Returns:
        The error, not raised.
    """
    names = sorted(known)
    near = difflib.get_close_matches(str(name), names, n=1)
    hint = f" did you mean {near[0]!r}?" if near else ""
    listed = ", ".join(names[:shown]) + (f" and {len(names) - shown} more" if len(names) > shown else "")
    return ValueError(f"unknown {kind} {name!r};{hint} one of {listed or '(none)'}")
