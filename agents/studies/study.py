"""A study: an experiment in several arms, the read-outs of each run, and a claim about them.

    @study(
        question="Does routing localise the digits 5 to 9 in half of the code?",
        reference="ratio 1.71 (an independent reproduction of arXiv 2410.04332)",
        arms={"routed": {"routed": True}, "unrouted": {"routed": False}},
        quick={"steps": 200},
        full={"steps": 2000},
        claims=(Claim("routed: ratio at least 1.5", lambda seed: seed["routed"]["ratio"], at_least=1.5),),
        panels=(Panel("ratio", "error without / with"),),
    )
    def split(run: Run, *, routed: bool, steps: int) -> dict[str, float]:
        ...

The function makes one run: an arm with one seed. Its keyword arguments are those of the arm and of the preset. It
returns the read-outs, and knows neither Prefect nor MLflow. A claim is decided by one number of each seed, which may
compare arms, since their runs with equal seed are paired.
"""

import importlib
import inspect
import pkgutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import product
from typing import Any, Literal, NamedTuple, Protocol

from routing.oversight.plugins import import_plugin

PRESETS = ("quick", "full")
Readouts = Mapping[str, float]
Outcomes = Mapping[Any, Readouts]
"""The read-outs of one seed: by arm, or by (arm, level) in a study with an axis."""


class Run(Protocol):
    """One run of a study: an arm, at one level of the axis if the study has one, with one seed."""

    seed: int
    """The global generators of random, NumPy and torch are seeded with it before the run."""

    def record(self, step: int, values: Readouts) -> None:
        """Records one point of each of the curves `values` at `step`; those of equal name form a curve."""

    def progress(self, share: float) -> None:
        """Reports the share of the run that is done, from 0 to 1."""


Measure = Callable[..., Readouts]


class Claim(NamedTuple):
    """A number of each seed, and bounds on its mean.

    The claim holds if the whole 95 % interval of the mean over seeds lies within the bounds, fails if the whole
    interval lies outside, and is undecided otherwise.
    """

    text: str
    value: Callable[[Outcomes], float]
    """outcomes of one seed -> the number"""
    at_least: float = -float("inf")
    at_most: float = float("inf")


class Panel(NamedTuple):
    """A panel of a study's picture. Lines and points are means over seeds with 95 % intervals."""

    readout: str
    """name of a read-out, or of a curve that runs record"""
    label: str
    """label of its axis, with the unit"""
    over: Literal["arms", "axis", "steps"] = "arms"
    """arms: a point for each arm and seed; axis: a line for each arm over the levels of the axis; steps: a line for
    each arm over the steps of the recorded curve"""
    arms: tuple[str, ...] = ()
    """the arms that are drawn; empty: all"""
    horizontal: str = ""
    """label of the horizontal axis, if that is not the name of the axis, or "step\""""
    log: bool = False
    """whether the axis of the read-out is logarithmic"""


@dataclass(frozen=True)
class Study:
    """An experiment with a claim; made by `study`."""

    name: str
    measure: Measure
    question: str
    reference: str
    """the number of the publication that the claim is compared with, and its source; empty if there is none"""
    arms: Mapping[str, Mapping[str, Any]]
    """name -> keyword arguments of `measure` in which the arm differs"""
    claims: tuple[Claim, ...]
    presets: Mapping[str, Mapping[str, Any]]
    """quick and full -> keyword arguments of `measure`; of the axis, a tuple of its levels"""
    panels: tuple[Panel, ...]
    axis: str = ""
    """the keyword argument that varies within each arm; empty if none does"""
    stand_in: str = ""
    """what is only a stand-in for the published experiment; empty if nothing is"""

    def __post_init__(self) -> None:
        self._check()

    def conditions(self, preset: str) -> list[tuple[str, Any]]:
        """The (arm, level) pairs of a preset; the level is None in a study without an axis."""
        levels = self.presets[preset][self.axis] if self.axis else (None,)
        return [(arm, level) for level, arm in product(levels, self.arms)]

    def settings(self, preset: str, arm: str, level: Any) -> dict[str, Any]:
        """The keyword arguments of `measure` in a run."""
        at = {self.axis: level} if self.axis else {}
        return {**self.presets[preset], **self.arms[arm], **at}

    def _check(self) -> None:
        """Raises ValueError if the study cannot run: an argument that `measure` lacks, no arm, no claim."""
        known = inspect.signature(self.measure).parameters
        named = {"arm " + arm: values for arm, values in self.arms.items()} | dict(self.presets)
        if not self.arms or not self.claims:
            raise ValueError(f"study {self.name} has no {'claim' if self.arms else 'arm'}; give at least one")
        for where, values in named.items():
            for name in values:
                if name not in known and not any(p.kind is p.VAR_KEYWORD for p in known.values()):
                    raise ValueError(f"study {self.name}: {where} sets {name!r}, which {self.name}() does not take")
        for preset in PRESETS:
            levels = self.presets[preset].get(self.axis) if self.axis else (None,)
            if not isinstance(levels, tuple) or not levels:
                raise ValueError(f"study {self.name}: {preset} needs the levels of the axis: {self.axis}=(..., ...)")
            for arm, level in self.conditions(preset):
                missing = set(_required(known)) - self.settings(preset, arm, level).keys()
                if missing:
                    raise ValueError(
                        f"study {self.name}: {preset}, arm {arm} does not set {', '.join(sorted(missing))}"
                    )
        for claim in self.claims:
            if (claim.at_least, claim.at_most) == (Claim._field_defaults["at_least"], Claim._field_defaults["at_most"]):
                raise ValueError(f"study {self.name}: the claim {claim.text!r} has no bound; give at_least or at_most")


def _required(parameters: Mapping[str, inspect.Parameter]) -> list[str]:
    """The keyword arguments without a default."""
    return [
        name
        for name, parameter in parameters.items()
        if parameter.kind is parameter.KEYWORD_ONLY and parameter.default is parameter.empty
    ]


_studies: dict[str, Study] = {}


def study(
    *,
    question: str,
    arms: Mapping[str, Mapping[str, Any]],
    quick: Mapping[str, Any],
    full: Mapping[str, Any],
    claims: tuple[Claim, ...],
    panels: tuple[Panel, ...],
    reference: str = "",
    axis: str = "",
    stand_in: str = "",
) -> Callable[[Measure], Study]:
    """Makes a study of a function; see `Study` for the arguments.

    The study has the name of the function, and is listed if its module belongs to this package.
    """

    def decorate(measure: Measure) -> Study:
        made = Study(
            measure.__name__, measure, question, reference, arms, claims,
            {"quick": quick, "full": full}, panels, axis, stand_in,
        )  # fmt: skip
        if measure.__module__.startswith(f"{__package__}."):
            _studies[made.name] = made
        return made

    return decorate


def load_studies() -> Mapping[str, Study]:
    """Imports every module of this package; returns its studies by name."""
    for module in pkgutil.iter_modules(sys.modules[str(__package__)].__path__):
        importlib.import_module(f"{__package__}.{module.name}")
    return dict(sorted(_studies.items()))


def find_study(name: str) -> Study:
    """Returns the study of this name, or that of another module, written module:name.

    Raises:
        ValueError: There is none.
    """
    if ":" in name:
        return _elsewhere(name)
    known = load_studies()
    if name not in known:
        near = get_close_matches(name, known, 1)
        hint = f"did you mean {near[0]!r}? one of" if near else "one of"
        raise ValueError(f"unknown study {name!r}; {hint} {', '.join(known)}")
    return known[name]


def _elsewhere(name: str) -> Study:
    module, _, attribute = name.partition(":")
    import_plugin(f"study {name!r}", module)
    found = getattr(sys.modules[module], attribute, None)
    if found is None:
        raise ValueError(f"unknown study {name!r}: {module} has no {attribute!r}")
    if not isinstance(found, Study):
        raise ValueError(
            f"{name} is no study but {type(found).__name__}; decorate the function with agents.studies.study"
        )
    return found
