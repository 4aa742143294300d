"""Copies of a world in mid-episode can be told in plain data and put back: what they are in, what they will draw.

A third party's environment takes part by having `snapshot()` and `restore(state)` as `POMDP` has them.
"""

from typing import Any

SnapshotState = dict[str, Any]  # numbers, text, arrays, lists and dictionaries of them


class SnapshotUnsupported(TypeError):  # noqa: N818  (it is no error: what it says runs, and is not continued midway)
    """Something cannot tell the state it is in, so whoever goes on with it starts anew."""


def require_snapshots(thing: Any) -> Any:
    """The thing, which has `snapshot` and `restore`; raises NotKept. A wrapper that passes names through has not."""
    if not (hasattr(type(thing), "snapshot") and hasattr(type(thing), "restore")):
        raise SnapshotUnsupported(
            f"{type(thing).__name__} does not tell its state: give it snapshot() and restore(state)"
        )
    return thing
