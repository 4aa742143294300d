"""Figures: a ratio with its spread over rounds, and an absolute number that holds for one machine only."""

from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any, NamedTuple

from benchmarks.harness.paired import Effort, Ratio, Spread

SUBJECTS = (
    *("env", "learners", "same_policy", "methods", "target", "sweep"),
    *("grid", "horizon", "blocks", "memory", "evaluation", "floor"),
)


class Figure(NamedTuple):
    """One ratio. Figures with an `x` are the points of a line named `series`."""

    name: str
    value: Spread  # by CPU time where times are compared
    repetitions: int
    wall: Spread | None = None  # the same ratio by wall-clock time
    absolute: float | None = None
    absolute_unit: str = ""
    series: str = ""
    x: float | None = None

    @classmethod
    def of(cls, name: str, ratio: Ratio, unit: str = "", per: float = 1.0, **more: Any) -> "Figure":
        """Make a figure of a ratio of speeds; the absolute number is the first workload's speed divided by `per`."""
        absolute = ratio.speed / per if unit else None
        return cls(name, ratio.cpu, ratio.rounds, ratio.wall, absolute, unit, **more)

    @classmethod
    def of_cost(cls, name: str, ratio: Ratio, **more: Any) -> "Figure":
        """Make a figure of a ratio of costs; the absolute number is the first workload's CPU-milliseconds."""
        cost = ratio.as_cost()
        return cls(name, cost.cpu, cost.rounds, cost.wall, 1e3 / ratio.speed, "CPU-ms", **more)


class Subject(NamedTuple):
    """One module of the benchmark."""

    name: str
    title: str  # first line of the module's docstring
    unit: str  # of every ratio
    measure: Callable[[Effort], Iterator[Figure]]


def load_subject(name: str) -> Subject:
    """Import the module `name`, one of SUBJECTS, and return it as a subject."""
    module = import_module(f"benchmarks.{name}")
    return Subject(name, (module.__doc__ or name).strip().splitlines()[0].rstrip("."), module.UNIT, module.measure)


def as_json(subject: Subject, figures: list[Figure]) -> dict[str, Any]:
    """Return a subject and its figures as plain data."""
    rows = []
    for figure in figures:
        spreads = {name: getattr(figure, name) for name in ("value", "wall")}
        given = {name: spread._asdict() for name, spread in spreads.items() if spread is not None}
        rows.append({**figure._asdict(), **spreads, **given, "unit": subject.unit})
    return {"name": subject.name, "title": subject.title, "unit": subject.unit, "figures": rows}


def format_figure(figure: Figure) -> str:
    """Return one row of the printed table: name, median, range, repetitions, absolute number."""
    low, high = (f"{number:.3g}" for number in figure.value[1:])
    absolute = "" if figure.absolute is None else f"{figure.absolute:>10.3g} {figure.absolute_unit}"
    spread = f"{low} to {high}"
    return f"  {figure.name:<48}{figure.value.median:>9.3g}   {spread:<18}{figure.repetitions:>3} {absolute}"
