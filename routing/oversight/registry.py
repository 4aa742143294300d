"""Registry of oversight methods by name.

A method registers itself in its own file. It declares its requirements beside the treatment: the gate loss, a critic
baseline, its deployment rules and their checkpoint selection.
"""

import inspect
from collections.abc import Callable
from dataclasses import dataclass

from routing.errors import unknown_name
from routing.oversight.overseer import Overseer, limited
from routing.oversight.treatment import Method


@dataclass(frozen=True)
class Deployment:
    """A deployment rule: how a trained policy acts, and which checkpoint is deployed."""

    name: str
    scales: tuple[float, ...] | None = None
    """Fixed coefficient of each expert, (retain, forget), instead of the gate's; None: the gate's coefficients."""
    selects_by: str | None = None
    """The metric whose largest value selects the checkpoint; None: the last checkpoint."""
    leaky: bool = False
    """The selection metric reads the true return, which no overseer of the world can observe."""

    @property
    def reads(self) -> str:
        """The metric that the checkpoint selection reads, or "nothing"."""
        return self.selects_by or "nothing"


WHOLE = Deployment("whole")
RETAIN_ALONE = Deployment("retain", (1.0, 0.0))


@dataclass(frozen=True)
class Spec:
    """A registered method: its treatment and its declarations."""

    name: str
    summary: str
    make: Callable[[int], Method]
    """Maps a seed to a method; a method that learns is created anew for each run."""
    deployments: tuple[Deployment, ...] = (WHOLE,)
    gated: bool = True
    """False: there is no gate, and both experts have coefficient 1/2."""
    level: str = "activation"
    """The routing level of the masks: see `docs/routing.md`; a policy has those of `agents.policies.blocks.LEVELS`."""
    gate_loss: bool = False
    """Train the gate by cross-entropy to classify judged steps as good or bad: `gate_cross_entropy` of the learner."""
    baseline: bool = True
    """False: samples whose gradient is routed by their outcome use the plain return. A critic baseline is biased on
    them: it has learned their proxy return and cancels it."""
    overseer: Callable[..., Overseer] = limited
    pure: bool = False
    """The method has no state between rollouts. A run of a stateful method can be resumed if its object has
    `snapshot()` and `restore(state)`, whose state is plain data and arrays."""


METHODS: dict[str, Spec] = {}


def learned_method(**declared) -> Callable:
    """Register a class whose instances, created from a seed, are methods that learn.

    Args:
        **declared: fields of `Spec`; the name defaults to the class's, the summary is the docstring's first paragraph.

    Raises:
        ValueError: (on decoration) the name is already registered.
    """

    def register(make):
        summary = (inspect.getdoc(make) or "").partition("\n\n")[0].replace("\n", " ")
        name = declared.pop("name", make.__name__)
        if name in METHODS:
            raise ValueError(f"method {name!r} is already registered by {METHODS[name].make}; choose another name")
        METHODS[name] = Spec(name=name, summary=summary, make=make, **declared)
        return make

    return register


def method(**declared) -> Callable:
    """Register a pure function from rollout to treatment under its own name.

    Args:
        **declared: fields of `Spec`; the summary is the docstring's first paragraph.

    Raises:
        ValueError: (on decoration) the name is already registered.
    """

    def register(treat: Method) -> Method:
        def make(seed: int) -> Method:
            return treat

        make.__doc__ = treat.__doc__
        learned_method(name=treat.__name__, pure=True, **declared)(make)
        return treat

    return register


def find(name: str) -> Spec:
    """Return the method of a name. Raises ValueError if it is unknown; suggests the nearest name."""
    if name in METHODS:
        return METHODS[name]
    raise unknown_name("method", name, METHODS, shown=len(METHODS))
