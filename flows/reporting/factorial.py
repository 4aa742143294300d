"""Two-by-two tables: what each of two parts of an arm is worth with and without the other.

A sweep that has an arm in all four combinations of two parts of two kinds, all other parts being equal, gives a table.
A difference of two cells shows what one part changes while the other is held fixed. The interaction is the difference
of two such differences: 0 if each part is worth the same with and without the other.
"""

from collections.abc import Mapping, Sequence
from itertools import combinations, product
from typing import Any, NamedTuple

from flows import arms
from flows.axis import Level
from flows.reporting import statistics
from flows.reporting.aggregate import Comparison
from flows.reporting.numbers import number, p_value, plusminus
from flows.reporting.statistics import Interval

Parts = Mapping[str, str]  # kind -> part
INTERACTION = "interaction"


class Effect(NamedTuple):
    """What a change is worth, over paired seeds."""

    name: str
    difference: Interval
    p: float
    """of the sign-flip test"""
    rows: frozenset[str]
    """the rows that it compares: two, or four for the interaction"""
    adjusted: float = float("nan")
    """p after Holm's correction over all distinct effects of the sweep"""

    @property
    def verdict(self) -> str:
        """Better, worse or undecided; of the interaction positive, negative or undecided."""
        word = statistics.verdict(self.adjusted, self.difference.mean)
        return {"better": "positive", "worse": "negative"}.get(word, word) if self.name == INTERACTION else word


class TwoByTwo(NamedTuple):
    """The table of two kinds of parts at one level."""

    arm: str
    """the arm with the second part of both kinds"""
    level: Level
    kinds: tuple[str, str]
    parts: tuple[tuple[str, str], tuple[str, str]]
    """of each kind, the two parts"""
    cells: tuple[tuple[Interval, Interval], tuple[Interval, Interval]]
    """mean true return, by the part of the first kind, then of the second"""
    effects: tuple[Effect, ...]
    """of the first kind at each part of the second, of the second at each of the first, and the interaction"""


def two_by_two_tables(comparison: Comparison) -> list[TwoByTwo]:
    """Find every table that the first deployment rules of a sweep's arms fill.

    Arms of other versions, whose parts are unknown, are left out.
    """
    found: list[TwoByTwo] = []
    for level in comparison.levels:
        rows = {cell.row for cell in comparison.at_level(level) if "/" not in cell.row and not cell.leaky}
        order = list(dict.fromkeys(row.row for row in comparison.results.rows if row.row in rows))
        known = {row: parts for row in order if (parts := _parts(row))}
        for kinds in combinations(next(iter(known.values()), {}), 2):
            found += _tables_of(comparison, level, known, kinds)
    return _adjusted(found)


def _adjusted(tables: list[TwoByTwo]) -> list[TwoByTwo]:
    """Correct p values over all effects of the tables; an effect that two tables show is one test."""
    effects = {(table.level, effect.rows): effect.p for table in tables for effect in table.effects}
    corrected = dict(zip(effects, statistics.holm(list(effects.values())), strict=True))
    return [
        table._replace(
            effects=tuple(e._replace(adjusted=float(corrected[table.level, e.rows])) for e in table.effects),
        )
        for table in tables
    ]


def _parts(row: str) -> Parts | None:
    """The parts of an arm, its world among them; None if they are unknown."""
    from routing import find

    try:
        method, arguments = arms.parse_arm(row)
        return {**dict(find(method).names), "world": _world(arguments)}
    except ValueError:
        return None


def _world(arguments: Mapping[str, Any]) -> str:
    """The environment arguments in which an arm differs from the sweep, as text."""
    changed = ",".join(f"{name}={value}" for name, value in sorted(arguments.items()))
    return f"({changed or 'as set'})"


def _tables_of(
    comparison: Comparison, level: Level, known: Mapping[str, Parts], kinds: tuple[str, str]
) -> list[TwoByTwo]:
    first, second = kinds
    groups: dict[tuple[tuple[str, str], ...], dict[tuple[str, str], str]] = {}
    for row, parts in known.items():
        rest = tuple((kind, part) for kind, part in parts.items() if kind not in kinds)
        groups.setdefault(rest, {})[parts[first], parts[second]] = row
    tables = []
    reference = known.get(comparison.results.reference_arm, {})
    for cells in groups.values():
        ones, others = (_distinct([key[i] for key in cells], reference.get(kind)) for i, kind in enumerate(kinds))
        for a, b in product(combinations(ones, 2), combinations(others, 2)):
            if all(key in cells for key in product(a, b)):
                tables.append(_table(comparison, level, kinds, (a, b), cells))
    return tables


def _distinct(parts: Sequence[str], last: str | None) -> list[str]:
    """The distinct parts, that of the reference arm last, so that a difference shows what its part is worth."""
    return sorted(dict.fromkeys(parts), key=lambda part: part == last)


def _table(
    comparison: Comparison,
    level: Level,
    kinds: tuple[str, str],
    parts: tuple[tuple[str, str], tuple[str, str]],
    rows: Mapping[tuple[str, str], str],
) -> TwoByTwo:
    (a, b), (c, d) = parts
    returns = {key: comparison.cell(rows[key], level).returns for key in product(*parts)}  # type: ignore[union-attr]
    seeds = sorted(set.intersection(*(set(values) for values in returns.values())))
    at = {key: [values[seed] for seed in seeds] for key, values in returns.items()}

    def minus(plus, less):
        return [x - y for x, y in zip(plus, less, strict=True)]

    sides = [((b, c), (a, c)), ((b, d), (a, d)), ((a, d), (a, c)), ((b, d), (b, c))]
    names = [
        *(f"{kinds[0]}: {b} - {a}, at {kinds[1]}={other}" for other in (c, d)),
        *(f"{kinds[1]}: {d} - {c}, at {kinds[0]}={one}" for one in (a, b)),
    ]
    changes = {name: minus(at[plus], at[less]) for name, (plus, less) in zip(names, sides, strict=True)}
    changes[INTERACTION] = minus(minus(at[b, d], at[a, d]), minus(at[b, c], at[a, c]))
    compared = [[rows[plus], rows[less]] for plus, less in sides] + [list(map(rows.__getitem__, at))]
    effects = [
        Effect(name, statistics.interval(values), statistics.sign_flip_test(values), frozenset(of))
        for (name, values), of in zip(changes.items(), compared, strict=True)
    ]
    means = tuple(tuple(statistics.interval(at[x, y]) for y in (c, d)) for x in (a, b))
    return TwoByTwo(rows[b, d], level, kinds, parts, means, tuple(effects))  # type: ignore[arg-type]


def markdown(table: TwoByTwo) -> str:
    """Format a table and its effects as Markdown, which is readable as text."""
    (first, second), (ones, others) = table.kinds, table.parts
    pairs = table.effects[0].difference.n
    title = f"{first} x {second} at {table.level.title}, {pairs} paired seeds; {second}, {first} of {table.arm}"
    lines = [title, "", "| | " + " | ".join(f"{second}={part}" for part in others) + " |", "|---|---|---|"]
    for part, cells in zip(ones, table.cells, strict=True):
        lines.append(f"| {first}={part} | " + " | ".join(map(plusminus, cells)) + " |")
    lines += ["", "| effect | difference | adjusted p | verdict |", "|---|---|---|---|"]
    for effect in table.effects:
        shown = plusminus(effect.difference) if effect.difference.n > 1 else number(effect.difference.mean)
        lines.append(f"| {effect.name} | {shown} | {p_value(effect.adjusted)} | {effect.verdict} |")
    return "\n".join(lines)
