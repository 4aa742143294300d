"""Registry of the parts that arms are made of: each has a kind, a name, and parameters.

A part is a function, or a class whose instances are that function where it learns or draws. An instance is created for
each run, from the run's seed. It can be saved with the run if it has `snapshot()` and `restore(state)`, whose state is
plain data and arrays.

    >>> @part("weights")
    ... def ipw(rollout: Rollout, cap: float = math.inf) -> np.ndarray:
    ...     \"\"\"Weight 1/p, at most `cap`, on judged episodes.\"\"\"

Every arm may use every part: `naive(weights=ipw(10))`.
"""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

from routing.errors import unknown_name
from routing.oversight.grammar import Call
from routing.oversight.plugins import METHOD_GROUP, add, look_up, qualified


class Kind(NamedTuple):
    """What a kind of part determines."""

    summary: str
    default: str


KINDS: dict[str, Kind] = {
    "overseer": Kind("whose verdicts are read: (judgement (O,), propensity) -> Overseer", "own"),
    "label": Kind("the verdict that filters, weights or routes a sample: (Feedback) -> Labels", "ending"),
    "reward": Kind("the reward of each step: (Rollout) -> (T, N)", "proxy"),
    "weights": Kind("the weight of each sample's loss: (Rollout) -> (T, N)", "one"),
    "scale": Kind("the factor of the loss, whose weights have mean 1: (weights (n,)) -> float", "one"),
    "masks": Kind("the blocks that each sample trains: (Rollout) -> (T, N, M)", "none"),
    "critic": Kind("the samples that train the critic: (masks (T, N, M)) -> (T, N)", "all"),
    "baseline": Kind("the samples from whose return the critic's value is subtracted: (Rollout) -> (T, N)", "all"),
    "advantage": Kind("how advantages are normalised: (advantages (B,), baselined (B,)) -> (B,)", "centred"),
    "gate_loss": Kind("the target of the gate's own loss: (Rollout) -> (T, N)", "none"),
    "network": Kind("the experts and how they are mixed: () -> Network", "gated"),
    "head": Kind("the linear layer from latent to actions: () -> its name in BlockPolicy", "shared"),
    "level": Kind("which gradients a mask scales: () -> its name in BlockPolicy", "activation"),
    "optimizer": Kind("the optimiser: () -> Optimizer", "adam"),
    "acting": Kind("which experts act during training: () -> Acting", "whole"),
    "after": Kind("what happens to the policy once training has ended: () -> After or None", "nothing"),
    "deploy": Kind("how the policy is used, and which checkpoint: (experts) -> Deployment; several with +", "whole"),
}
NEEDS = {  # of a network
    "forget": "a forget block",
    "gate": "a gate",
    "layers": "layers of each expert's own",
    "code": "an input for the verdict",
}
WORLD = {  # of an environment and its overseer with limits and audits
    "bad verdicts": "an overseer that gives bad verdicts",
    "one-sided verdicts": "verdicts that are all good or all bad",
    "positivity": "a verdict with positive probability on every rewarded ending",
    "an expert for each kind": "a forget expert for each kind of bad verdict",
}
ACCEPTED: dict[Any, tuple[type, ...]] = {
    float: (float, int),
    int: (int,),
    str: (str,),
    bool: (bool,),
    tuple: (list, tuple),  # JSON has lists only
}


@dataclass(frozen=True)
class Part:
    """A registered part."""

    kind: str
    name: str
    summary: str
    function: Callable
    needs: frozenset[str] = frozenset()
    """what it requires of the network, of the keys of `NEEDS`"""
    world: frozenset[str] = frozenset()
    """what it requires of the environment, of the keys of `WORLD`; commands check it before they train"""

    @property
    def module(self) -> str:
        """The module that defines it."""
        return getattr(self.function, "__module__", None) or ""

    @property
    def learns(self) -> bool:
        """Whether an instance is created for each run."""
        return inspect.isclass(self.function)

    @property
    def parameters(self) -> dict[str, inspect.Parameter]:
        """The parameters that a composition may set."""
        known = inspect.signature(self.function).parameters
        return {name: found for name, found in known.items() if found.default is not inspect.Parameter.empty}

    @property
    def usage(self) -> str:
        """The part as a composition writes it, with its parameters and their defaults."""
        shown = [f"{name}={found.default}" for name, found in self.parameters.items()]
        return f"{self.name}({','.join(shown)})" if shown else self.name


PARTS: dict[str, dict[str, Part]] = {kind: {} for kind in KINDS}


def part(kind: str, name: str = "", needs: tuple[str, ...] = (), world: tuple[str, ...] = ()) -> Callable:
    """Register a function or class as a part.

    Args:
        kind: a key of `KINDS`, which states the arguments and the result. Parameters with a default follow the
            arguments; a class takes the run's seed, then the parameters.
        name: by default that of the function.
        needs: what it requires of the network, of the keys of `NEEDS`.
        world: what it requires of the environment, of the keys of `WORLD`.

    Raises:
        ValueError: (on decoration) the kind or a need is unknown, or the name is registered already.
    """

    def register(function: Callable) -> Callable:
        if kind not in KINDS:
            raise unknown_name("kind of part", kind, KINDS)
        for need in needs:
            if need not in NEEDS:
                raise unknown_name("need of a part", need, NEEDS)
        for need in world:
            if need not in WORLD:
                raise unknown_name("need of a part in the world", need, WORLD)
        chosen = name or function.__name__
        summary = (inspect.getdoc(function) or "").partition("\n\n")[0].replace("\n", " ")
        add(kind, chosen, Part(kind, chosen, summary, function, frozenset(needs), frozenset(world)), PARTS[kind])
        return function

    return register


class Bound(NamedTuple):
    """A part with values for its parameters."""

    part: Part
    values: tuple[tuple[str, Any], ...]
    """sorted by name; those equal to the default are left out"""

    @property
    def name(self) -> str:
        """The part with its values, as a composition writes it, with its module if it is not ours."""
        called = qualified(self.part.name, self.part.module)
        given = dict(self.values)
        leading = list(self.part.parameters)[: len(given)]
        if set(leading) == set(given):
            return str(Call(called, tuple(given[name] for name in leading)))
        return str(Call(called, (), self.values))

    def make(self, seed: int) -> Callable:
        """Return the part's function for one run."""
        values = dict(self.values)
        if self.part.learns:
            return self.part.function(seed, **values)
        return partial(self.part.function, **values) if values else self.part.function


def bind(kind: str, call: Call) -> Bound:
    """Look a part up and check the values of its parameters.

    Raises:
        ValueError: the part's module cannot be imported, the part or a parameter is unknown, or a value has the wrong
            type.
    """
    return bind_to(look_up(kind, call.name, METHOD_GROUP, PARTS[kind]), kind, call)


def bind_to(found: Part, kind: str, call: Call) -> Bound:
    """Check the values that a call gives to the parameters of a registered function; `kind` is what errors call it.

    Raises:
        ValueError: a parameter is unknown, or a value has the wrong type.
    """
    known = found.parameters
    if len(call.args) > len(known):
        raise ValueError(f"{kind} {call} has {len(call.args)} values; {found.usage} takes {len(known)} at most")
    given = dict(zip(known, call.args, strict=False))
    for name, value in call.kwargs:
        if name not in known:
            raise unknown_name(f"parameter of {kind} {call.name}", name, known)
        if name in given:
            raise ValueError(f"{kind} {call} sets {name} twice")
        given[name] = value
    values = {name: _converted(f"{kind} {call}", known[name], value) for name, value in given.items()}
    return Bound(found, tuple(sorted((name, v) for name, v in values.items() if v != known[name].default)))


def _converted(where: str, parameter: inspect.Parameter, value: Any) -> Any:
    """Return a value with the type of its parameter's annotation, or of its default if there is no annotation."""
    kind = parameter.annotation if parameter.annotation in ACCEPTED else type(parameter.default)
    accepted = ACCEPTED.get(kind, (kind,))
    if not isinstance(value, accepted) or (isinstance(value, bool) and kind is not bool) or value != value:
        raise ValueError(f"{where}: {parameter.name} is {value!r}, which is not of type {kind.__name__}")
    return kind(value)
