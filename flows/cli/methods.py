"""Implements `keyhole methods`: what methods are made of."""

import textwrap
from collections.abc import Sequence

import click

from flows.errors import UserError
from flows.text import one_line


def list_methods() -> None:
    """`keyhole methods`: lists the oversight methods with the parts that are not the default."""
    import routing

    entries = {}
    for name, registered in sorted(routing.METHODS.items()):
        parts = [f"{kind}={part}" for kind, part in registered.composition.names if part != routing.KINDS[kind].default]
        entries[name] = f"{registered.summary} {' '.join(parts)}"
    print_list(entries)


def list_parts() -> None:
    """`keyhole methods --parts`: lists the parts by kind."""
    import routing

    for kind, known in routing.KINDS.items():
        print(f"{kind}: {known.summary}; default {known.default}")
        print_list({f"  {part.usage}": part.summary for part in routing.PARTS[kind].values()})


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


def print_list(entries: dict[str, str]) -> None:
    """Prints names and what they are, in two columns."""
    width = max(map(len, entries)) + 2
    for name, text in entries.items():
        print(textwrap.fill(name.ljust(width) + text, 110, subsequent_indent=" " * width))
    click.echo(nl=False)
