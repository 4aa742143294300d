"""Implements `keyhole methods` and `keyhole limits`: what methods are made of, and what limits an overseer can have."""

from collections.abc import Sequence

from flows.cli import origins
from flows.errors import UserError
from flows.text import one_line


def list_methods() -> None:
    """`keyhole methods`: lists the oversight methods with the parts that are not the default, by origin."""
    import routing
    from routing.oversight.plugins import METHOD_GROUP, load_entry_points, qualified

    failed = load_entry_points(METHOD_GROUP)
    entries = origins.local_methods()
    for name, registered in routing.METHODS.items():
        parts = [f"{kind}={part}" for kind, part in registered.composition.names if part != routing.KINDS[kind].default]
        text = " ".join([registered.summary, *parts])
        entries.append(origins.Entry(qualified(name, registered.module), text, origins.origin(registered.module)))
    origins.print_by_origin(entries)
    origins.print_failures(failed)


def list_parts() -> None:
    """`keyhole methods --parts`: lists the parts by kind; those that are not keyhole's with their origin."""
    import routing
    from routing.oversight.plugins import METHOD_GROUP, load_entry_points, qualified

    failed = load_entry_points(METHOD_GROUP)
    for kind, known in routing.KINDS.items():
        print(f"{kind}: {known.summary}; default {known.default}")
        parts = {entry.name: f"{entry.text} (from {entry.origin})" for entry in origins.local_parts(kind)}
        for part in routing.PARTS[kind].values():
            where = origins.origin(part.module)
            suffix = "" if where == origins.OURS else f" (from {where})"
            parts[qualified(part.usage, part.module)] = part.summary + suffix
        origins.print_list({f"  {name}": text for name, text in parts.items()})
    origins.print_failures(failed)


def list_limits() -> None:
    """`keyhole limits`: lists the limits of an overseer by kind; those that are not keyhole's with their origin."""
    import routing
    from routing.oversight.limits import HISTORY, MEMORYLESS, WORLD
    from routing.oversight.plugins import LIMIT_GROUP, load_entry_points, qualified

    failed = load_entry_points(LIMIT_GROUP)
    kinds = {
        MEMORYLESS: "without memory: part of the world, so tables, exact rates and certificates include them",
        HISTORY: "with a history: change what reaches the learner; numbers are sampled, certificates leave them out",
        WORLD: "of the world: the agent asks for a look",
    }
    for kind, text in kinds.items():
        print(text)
        entries = {}
        for found in routing.LIMITS.values():
            if found.kind == kind:
                where = origins.origin(found.module)
                suffix = "" if where == origins.OURS else f" (from {where})"
                entries[f"  {qualified(found.usage, found.module)}"] = found.summary + suffix
        origins.print_list(entries)
    if local := origins.local_limits():
        print("in the current folder, not imported")
        origins.print_list({f"  {entry.name}": f"{entry.text} (from {entry.origin})" for entry in local})
    origins.print_failures(failed)


def show_methods(first: str, second: str = "") -> None:
    """`keyhole methods A B`: prints the parts of A, or those in which A and B differ."""
    import routing

    try:
        if not second:
            _print_columns([("part", first), *routing.find(first).names])
            return
        differing = routing.differing_parts(first, second)
    except ValueError as error:
        raise UserError(one_line(error)) from None
    if not differing:
        print(f"{first} and {second} are the same composition")
        return
    _print_columns([("part", first, second), *((kind, *pair) for kind, pair in differing.items())])


def _print_columns(rows: Sequence[Sequence[str]]) -> None:
    widths = [max(map(len, column)) + 2 for column in zip(*rows, strict=True)]
    for row in rows:
        print("".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip())
