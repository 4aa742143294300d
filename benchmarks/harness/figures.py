"""A figure is a ratio with its spread over rounds; absolute numbers stand beside it, and are this machine's alone."""

from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any, NamedTuple

from benchmarks.harness.paired import Effort, Ratio, Spread

SUBJECTS = (
    *("env", "learners", "methods", "target", "sweep"),
    *("grid", "horizon", "blocks", "memory", "evaluation", "floor"),
)


class Figure(NamedTuple):
    """One ratio. Those with `x` are points of the line `series`."""

    name: str
    value: Spread  # by CPU time where times are compared
    repetitions: int
    wall: Spread | None = None  # the same by the clock on the wall
    absolute: float | None = None
    absolute_unit: str = ""
    series: str = ""
    x: float | None = None

    @classmethod
    def of(cls, name: str, ratio: Ratio, unit: str = "", per: float = 1.0, **more: Any) -> "Figure":
        """A measured ratio, with the speed of its first way in `unit` of `per`."""
        absolute = ratio.speed / per if unit else None
        return cls(name, ratio.cpu, ratio.rounds, ratio.wall, absolute, unit, **more)

    @classmethod
    def of_cost(cls, name: str, ratio: Ratio, **more: Any) -> "Figure":
        """A measured ratio of costs, with the CPU-milliseconds of its first way."""
        cost = ratio.as_cost()
        return cls(name, cost.cpu, cost.rounds, cost.wall, 1e3 / ratio.speed, "CPU-ms", **more)


class Subject(NamedTuple):
    """What one module of the benchmark measures."""

    name: str
    title: str  # its docstring's first line
    unit: str  # of every ratio
    measure: Callable[[Effort], Iterator[Figure]]


def subject(name: str) -> Subject:
    """The module of that name, one of SUBJECTS, as a subject."""
    module = import_module(f"benchmarks.{name}")
    return Subject(name, (module.__doc__ or name).strip().splitlines()[0].rstrip("."), module.UNIT, module.measure)


def as_json(subject: Subject, figures: list[Figure]) -> dict[str, Any]:
    """Everything of one subject, as plain data."""
    rows = []
    for figure in figures:
        spreads = {name: getattr(figure, name) for name in ("value", "wall")}
        given = {name: spread._asdict() for name, spread in spreads.items() if spread is not None}
        rows.append({**figure._asdict(), **spreads, **given, "unit": subject.unit})
    return {"name": subject.name, "title": subject.title, "unit": subject.unit, "figures": rows}


def line(figure: Figure) -> str:
    """One row of the printed table."""
    low, high = (f"{number:.3g}" for number in figure.value[1:])
    beside = "" if figure.absolute is None else f"{figure.absolute:>10.3g} {figure.absolute_unit}"
    return f"  {figure.name:<48}{figure.value.median:>9.3g}   {low + ' to ' + high:<18}{figure.repetitions:>3} {beside}"
