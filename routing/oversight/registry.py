"""Oversight methods by name. A method registers itself in its own file, together with all it needs beside the
treatment: the gate's loss, a critic baseline, how the policy is deployed, and what chooses the checkpoint.
"""

import inspect
from collections.abc import Callable
from dataclasses import dataclass

from routing.errors import unknown_name
from routing.oversight.overseer import Overseer, limited
from routing.oversight.treatment import Method


@dataclass(frozen=True)
class Deployment:
    """How a trained policy is used, and which of its checkpoints."""

    name: str
    scales: tuple[float, ...] | None = None
    """Fixed coefficient of each expert, (retain, forget), in place of the gate's; None: the gate decides."""
    selects_by: str | None = None
    """The metric whose largest value chooses the checkpoint; None: the last checkpoint, whatever it is."""
    leaky: bool = False
    """The choice reads what no overseer of this world can know."""

    @property
    def reads(self) -> str:
        return self.selects_by or "nothing"


WHOLE = Deployment("whole")
RETAIN_ALONE = Deployment("retain", (1.0, 0.0))


@dataclass(frozen=True)
class Spec:
    """A registered method: its treatment and what it declares beside it."""

    name: str
    summary: str
    make: Callable[[int], Method]
    """Seed -> treatment; a method that learns starts anew for each run."""
    deployments: tuple[Deployment, ...] = (WHOLE,)
    gated: bool = True
    """False: the experts are mixed half and half, for good."""
    level: str = "activation"
    """What the masks scale: see `docs/routing.md`, and `agents.blocks.LEVELS` for the ones that a policy has."""
    gate_loss: bool = False
    """Train the gate by cross-entropy to tell good from bad on judged steps."""
    baseline: bool = True
    """False: samples whose gradient is routed by their outcome use the plain return, for a critic's
    baseline on them is biased: it has learned what their proxy return will be and cancels it."""
    overseer: Callable[..., Overseer] = limited
    pure: bool = False
    """It remembers nothing from one rollout to the next. A method that does can be continued midway in a run if its
    object has `snapshot()` and `restore(state)`, in plain data and arrays."""


METHODS: dict[str, Spec] = {}


def learned_method(**declared) -> Callable:
    """Register a class whose objects, made from a seed, are methods that learn."""

    def register(make):
        summary = (inspect.getdoc(make) or "").partition("\n\n")[0].replace("\n", " ")
        name = declared.pop("name", make.__name__)
        if name in METHODS:
            raise ValueError(f"method {name!r} is registered already, by {METHODS[name].make}; choose another name")
        METHODS[name] = Spec(name=name, summary=summary, make=make, **declared)
        return make

    return register


def method(**declared) -> Callable:
    """Register a pure function from rollout to treatment under its own name."""

    def register(treat: Method) -> Method:
        def make(seed: int) -> Method:
            return treat

        make.__doc__ = treat.__doc__
        learned_method(name=treat.__name__, pure=True, **declared)(make)
        return treat

    return register


def find(name: str) -> Spec:
    """The method of that name.

    Raises:
        ValueError: there is none; names the nearest.
    """
    if name in METHODS:
        return METHODS[name]
    raise unknown_name("method", name, METHODS, shown=len(METHODS))
