"""What to say of a name that is not known: what was found, and the nearest that is."""

import difflib
from collections.abc import Iterable


def unknown_name(kind: str, name: str, known: Iterable[str], shown: int = 8) -> ValueError:
    """The error for an unknown name, to be raised by the caller.

    Args:
        kind: what the name should have named, such as "region".
        shown: how many of the known names to list.
    """
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ";"
    listed = ", ".join(names[:shown]) + (f" and {len(names) - shown} more" if len(names) > shown else "")
    return ValueError(f"unknown {kind} {name!r}{hint} one of {listed or '(none)'}")
