"""Worlds of installed distributions: entry points of the group `keyhole.worlds` name modules that register some."""

from importlib.metadata import entry_points
from typing import Any

WORLD_GROUP = "keyhole.worlds"


def load_worlds() -> tuple[str, ...]:
    """Import the modules that the entry points name, once; return a line for each that cannot be imported."""
    if not entry_points(group=WORLD_GROUP):
        return ()
    from routing.oversight.plugins import load_entry_points

    return load_entry_points(WORLD_GROUP)


def registering_module(world: str) -> str:
    """Return the module, named by an entry point, of the package that registers a Gymnasium id; empty if there is none.

    Every worker can import the module, and the cache key covers its package.
    """
    points = entry_points(group=WORLD_GROUP)
    if not points:
        return ""
    import gymnasium

    load_worlds()
    spec = gymnasium.registry.get(world)
    package = defining_module(spec).partition(".")[0] if spec else ""
    return next((point.module for point in points if package and point.module.partition(".")[0] == package), "")


def defining_module(spec: Any) -> str:
    """Return the module of a Gymnasium environment, of its vector form if it has one."""
    entry = spec.vector_entry_point or spec.entry_point
    return entry.partition(":")[0] if isinstance(entry, str) else getattr(entry, "__module__", "")
