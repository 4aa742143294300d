"""Snapshot and restore an environment's mid-episode state and generator state as plain data.

An environment of a third party supports this by implementing `snapshot()` and `restore(state)` as `POMDP` does.
"""

from typing import Any

SnapshotState = dict[str, Any]  # numbers, strings, arrays, and lists and dictionaries of them


class SnapshotUnsupported(TypeError):  # noqa: N818  (a run without snapshots still trains)
    """The object cannot snapshot its state, so a resumed run restarts its episodes."""


def require_snapshots(thing: Any) -> Any:
    """Returns the object if its class defines `snapshot` and `restore`; raises SnapshotUnsupported otherwise.

    The class is inspected, not the instance: a wrapper that forwards attributes does not count.
    """
    if not (hasattr(type(thing), "snapshot") and hasattr(type(thing), "restore")):
        raise SnapshotUnsupported(
            f"{type(thing).__name__} cannot save its state: give it snapshot() and restore(state)"
        )
    return thing
