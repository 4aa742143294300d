"""Limits of the overseer: what it misses, mistakes, cannot afford or reads late; registered like parts.

    recall(of=ghost,rate=0.5)|noise(0.05)

Limits separated by `|` apply from left to right. There are three kinds, by what is registered:

- a function (steps: Steps, **parameters) -> Change has no memory: it is a kernel on the overseer's observation of a
  step. It becomes a part of the world, so tables, exact rates and certificates include it;
- a class, made from (seed, **parameters) and called with a view, has a history, such as a budget. It changes the view
  of each rollout in training. Its numbers are sampled, and the certificate is that of the overseer without it. Its
  `snapshot()` and `restore(state)` are saved with the run;
- a function registered with `wraps=True` returns the arguments of the wrapper of the same name: it changes the world
  itself, as an action that asks for a look does.

    >>> @limit
    ... def recall(steps: Steps, rate: float, of: str = "") -> Change:
    ...     \"\"\"What the overseer would have seen, it sees with probability `rate` only.\"\"\"
"""

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from routing.errors import unknown_name
from routing.oversight.grammar import parse_call, split_outside
from routing.oversight.parts import Bound, Part, bind_to
from routing.oversight.plugins import LIMIT_GROUP, add, look_up

MEMORYLESS, HISTORY, WORLD = "memoryless", "history", "world"
SEPARATOR = "|"
OURS = "routing.limits."  # modules of the limits that can be checked without a world
LIMITS: dict[str, Part] = {}


class Steps(NamedTuple):
    """n steps as a limit without memory reads them, and the names of what they hold.

    Letters: L overseer observations, F features.
    """

    label: np.ndarray  # (n,) int: overseer observation
    verdict: np.ndarray  # (n,) float: the world's verdict on it; nan: none
    outcome: np.ndarray  # (n,) int: outcome of an episode that ends in the state reached, an index of `outcomes`
    terminated: np.ndarray  # (n,) bool: the state reached is terminal
    features: np.ndarray  # (n, F) float: features of the state reached
    labels: tuple[str, ...]  # name of each overseer observation
    judgement: np.ndarray  # (L,) float: the verdict on each overseer observation; nan: none
    hidden: np.ndarray  # (L,) int: what each overseer observation looks like if the overseer misses it
    outcomes: tuple[str, ...]
    feature_names: tuple[str, ...]


class Change(NamedTuple):
    """What a limit without memory does to each step, independently of all others."""

    probability: np.ndarray  # (n,) float: that the overseer observes `label` instead
    label: np.ndarray  # (n,) int


def limit(function: Callable | None = None, *, wraps: bool = False) -> Any:
    """Register a limit under the name of the function or class; usable with and without arguments.

    Args:
        function: see the module's docstring.
        wraps: the function returns the arguments of a wrapper of the world.

    Raises:
        ValueError: the name is registered already.
    """

    def register(function: Callable) -> Callable:
        name = function.__name__
        summary = (inspect.getdoc(function) or "").partition("\n\n")[0].replace("\n", " ")
        kind = WORLD if wraps else HISTORY if inspect.isclass(function) else MEMORYLESS
        add("limit", name, Part(kind, name, summary, function), LIMITS)
        return function

    return register if function is None else register(function)


def parse_limits(text: str) -> tuple[Bound, ...]:
    """Parse limits as a user writes them, and check the values of their parameters.

    Args:
        text: `LIMIT(VALUE,...)|LIMIT(NAME=VALUE,...)`; empty for no limit.

    Raises:
        ValueError: a limit or a parameter is unknown, a parameter has no value, or a value is wrong.
    """
    if not text.strip():
        return ()
    pieces = split_outside(text, SEPARATOR)
    if not all(pieces):
        raise ValueError(
            f"{text!r} has an empty limit; write LIMIT(VALUE,...)|LIMIT, for example recall(0.5)|noise(0.1)"
        )
    calls = [parse_call(one) for one in pieces]
    bounds = [bind_to(look_up("limit", call.name, LIMIT_GROUP, LIMITS), "limit", call) for call in calls]
    kinds = [bound.part.kind for bound in bounds]
    if kinds.count(WORLD) > 1:
        raise ValueError(f"{text!r} changes the world twice; name one of its limits that do")
    for bound in bounds:
        _check_values(bound)
    return tuple(bounds)


def _check_values(bound: Bound) -> None:
    """Raise ValueError if a limit refuses the values of its parameters.

    A function of another module may look up what only the world has, so it is first called when the world is made.
    """
    try:
        if bound.part.kind == MEMORYLESS and bound.part.module.startswith(OURS):
            bound.make(0)(_no_steps())
        elif bound.part.kind == HISTORY:
            bound.make(0)
        elif bound.part.kind == WORLD:
            bound.make(0)()
    except UnknownInWorld:
        return
    except ValueError as error:
        raise ValueError(f"limit {bound.name}: {error}") from None


def _no_steps() -> Steps:
    """No steps, of a world with one overseer observation and one outcome."""
    nothing, names = np.zeros(0, int), ("something",)
    return Steps(
        nothing, np.zeros(0), nothing, np.zeros(0, bool), np.zeros((0, 0)), names, np.zeros(1), np.zeros(1, int),
        names, (),
    )  # fmt: skip


class UnknownInWorld(ValueError):  # noqa: N818  (a value that another world may have)
    """A limit names an outcome, a label or a feature that the world lacks."""


def label_index(steps: Steps, name: str) -> int:
    """Return the index of an overseer observation; raise UnknownInWorld with the nearest name if there is none."""
    if name not in steps.labels:
        raise UnknownInWorld(str(unknown_name("overseer observation", name, steps.labels)))
    return steps.labels.index(name)


def concerned(steps: Steps, of: str = "", feature: str = "", low: float = -np.inf, high: float = np.inf) -> np.ndarray:
    """Select the steps that a limit concerns.

    Args:
        steps: n steps.
        of: the outcome of the state reached, or an overseer observation; empty: all steps.
        feature: name of a feature; empty: all states.
        low: least value of the feature.
        high: greatest value of the feature.

    Returns:
        (n,) bool.

    Raises:
        UnknownInWorld: the world has no such outcome, overseer observation or feature.
    """
    selected = np.ones(len(steps.label), bool)
    if of:
        if of in steps.outcomes:
            selected = steps.outcome == steps.outcomes.index(of)
        elif of in steps.labels:
            selected = steps.label == label_index(steps, of)
        else:
            known = {*steps.outcomes, *steps.labels}
            raise UnknownInWorld(str(unknown_name("outcome or overseer observation", of, known)))
    if feature:
        values = feature_values(steps, feature)
        selected = selected & (values >= low) & (values <= high)
    return selected


def feature_values(steps: Steps, name: str) -> np.ndarray:
    """Return (n,) values of a feature; raise UnknownInWorld if the world has none of this name."""
    if not steps.feature_names:
        raise UnknownInWorld(f"the world exposes no features to its overseer, so none is called {name!r}")
    if name not in steps.feature_names:
        raise UnknownInWorld(str(unknown_name("feature", name, steps.feature_names)))
    return steps.features[:, steps.feature_names.index(name)]


def as_probability(name: str, value: float) -> float:
    """Return a value in [0, 1]; raise ValueError otherwise."""
    if not 0 <= value <= 1:
        raise ValueError(f"{name} must be a probability between 0 and 1, found {value!r}")
    return value
