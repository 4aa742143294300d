"""Compositions: one part of each kind, which together make an oversight method.

The learner reads the treatment that a composition computes for a rollout, and the few declarations below (network,
head, level, optimiser, deployment rules). It never branches on the name of a method.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from routing.optim import SplitAdam
from routing.oversight.grammar import Call, parse_call, split_outside
from routing.oversight.overseer import Overseer
from routing.oversight.parts import KINDS, NEEDS, Bound, bind
from routing.oversight.treatment import CODES, Rollout, Treatment, blocks_of

SEVERAL = "deploy"  # the only kind of which an arm may have several, separated by +


class Measured(NamedTuple):
    """How the factor of the forget experts is measured: the largest whose rate of bad verdicts is low enough."""

    tolerance: float
    """Bad verdicts per episode by which the rate may exceed the one that it is compared with."""
    against: str
    """The policy whose rate is the limit: "ablated", the forget experts removed, or "untrained", before training."""


@dataclass(frozen=True)
class Deployment:
    """A deployment rule: how a trained policy acts, and which checkpoint is deployed."""

    name: str
    scales: tuple[float, ...] | None = None
    """Fixed coefficient of each expert instead of the gate's, the retain expert first; None: as trained."""
    selects_by: str | None = None
    """The metric whose largest value selects the checkpoint; None: the last checkpoint."""
    leaky: bool = False
    """The selection metric reads the true return, which no overseer of the world can observe."""
    without: tuple[str, ...] = ()
    """Ablated experts."""
    measured: Measured | None = None
    """How the factor of the forget experts' coefficients is measured; None: they have none."""

    @property
    def is_whole(self) -> bool:
        """Whether the policy acts as trained."""
        return self.scales is None and not self.without and self.measured is None

    @property
    def reads(self) -> str:
        """What the selection of checkpoint and factor reads, or "nothing"."""
        return self.selects_by or ("nothing" if self.measured is None else "rate of bad verdicts")


WHOLE = Deployment("whole")
CONDITIONED = "conditioned"  # the network that reads the verdict of each sample instead of having blocks


class Network(NamedTuple):
    """The networks of an actor. Its `name`, `experts` and the head are arguments of `agents.BlockPolicy`."""

    name: str
    experts: int = 2
    gate: bool = False
    equal_capacity: bool = False
    """Give the one network as many parameters as two experts and a gate have."""

    @property
    def gives(self) -> frozenset[str]:
        """What parts can rely on, of the keys of `NEEDS`."""
        found = {
            "forget": self.experts > 1,
            "gate": self.gate,
            "layers": self.name != "adapters",
            "code": self.name == CONDITIONED,
        }
        return frozenset(name for name, given in found.items() if given)


class Optimizer(NamedTuple):
    """A torch optimiser and its arguments beside the learning rate."""

    optimizer_class: Any
    arguments: dict[str, Any]


class Acting(NamedTuple):
    """Which experts act during training."""

    share: float = 0.0
    """Probability with which the first deployment rule's policy acts in an episode instead of the whole policy."""


class After(NamedTuple):
    """A function that is applied to the policy once training has ended, by its name in `agents.after.AFTER`."""

    name: str
    arguments: dict[str, Any]


@dataclass(frozen=True)
class Composition:
    """One part of each kind, and one or more of kind "deploy"."""

    parts: dict[str, tuple[Bound, ...]]

    def __hash__(self) -> int:
        return hash(self.names)

    @property
    def names(self) -> tuple[tuple[str, str], ...]:
        """(kind, part with its values) of each kind, in the order of `KINDS`."""
        return tuple((kind, "+".join(bound.name for bound in self.parts[kind])) for kind in KINDS)

    def only(self, kind: str) -> Bound:
        """The part of a kind."""
        return self.parts[kind][0]

    def value(self, kind: str) -> Any:
        """What a part of a kind without arguments (network, head, level, optimizer, acting, after) declares."""
        return self.only(kind).make(0)()

    @property
    def network(self) -> Network:
        """The networks of the actor."""
        return self.value("network")

    @property
    def blocks(self) -> tuple[str, ...]:
        """The blocks of the policy, in the order of a mask's columns; of a network that reads verdicts, the codes."""
        return (*CODES, "gate") if self.network.name == CONDITIONED else blocks_of(self.network.experts)

    @property
    def advantage(self) -> Callable:
        """(advantages (B,), baselined (B,)) -> (B,), on tensors."""
        return self.only("advantage").make(0)

    @property
    def deployments(self) -> tuple[Deployment, ...]:
        """The deployment rules, the first of which decides the weights that are saved."""
        return tuple(bound.make(0)(self.network.experts) for bound in self.parts[SEVERAL])

    @property
    def deployed(self) -> tuple[Deployment, ...]:
        """The deployment rules as they use the policy that is saved.

        What happens after training leaves a policy that is deployed whole.
        """
        changed = self.value("after") is not None
        return tuple(Deployment(rule.name) if changed else rule for rule in self.deployments)

    @property
    def training(self) -> tuple[tuple[str, str], ...]:
        """The names of all parts that training reads: equal ones train equal policies."""
        return tuple(pair for pair in self.names if pair[0] != SEVERAL)

    def overseer(self, judgement: Any, propensity: float) -> Overseer:
        """Build the overseer of a world; see `routing.oversight.overseer.limited`."""
        return self.only("overseer").make(0)(judgement, propensity)

    def make(self, seed: int) -> "Method":
        """Return the function from rollout to treatment for one run."""
        return Method(self, seed)


class Method:
    """Computes the treatment of each rollout of one run.

    Args:
        composition: the parts.
        seed: of the parts that learn or draw.

    Attributes:
        learning: kind -> instance of each part that learns or draws; a run can be resumed if all have `snapshot()` and
            `restore(state)`.
    """

    def __init__(self, composition: Composition, seed: int) -> None:
        kinds = ("label", "reward", "weights", "scale", "masks", "critic", "baseline", "gate_loss")
        self.functions = {kind: composition.only(kind).make(seed) for kind in kinds}
        self.learning = {kind: self.functions[kind] for kind in kinds if composition.only(kind).part.learns}
        self.blocks = composition.blocks

    def __call__(self, rollout: Rollout) -> Treatment:
        read = self.functions
        labelled = functools.cache(lambda: read["label"](rollout.feedback))
        rollout = rollout._replace(blocks=self.blocks, labelled=labelled)
        weights, masks = read["weights"](rollout), read["masks"](rollout)
        return Treatment(
            rewards=read["reward"](rollout),
            weights=weights,
            masks=masks,
            critic=read["critic"](masks),
            baselined=read["baseline"](rollout),
            gate=read["gate_loss"](rollout),
            scale=read["scale"](weights if rollout.live is None else weights[rollout.live]),
        )


def compose(base: Composition | None, changes: dict[str, str]) -> Composition:
    """Return a composition with some parts changed.

    Args:
        base: the parts that stay; None: the default of each kind.
        changes: kind -> part, as a user writes it.

    Raises:
        ValueError: a part is unknown, a value is wrong, or the parts do not hold together.
    """
    defaults: dict[str, tuple[Bound, ...]] = {kind: (bind(kind, Call(known.default)),) for kind, known in KINDS.items()}
    parts = dict(base.parts) if base else defaults
    for kind, text in changes.items():
        texts = split_outside(text, "+") if kind == SEVERAL else [text]
        parts[kind] = tuple(bind(kind, parse_call(one)) for one in texts)
    composition = Composition(parts)
    _check(composition)
    return composition


def _check(composition: Composition) -> None:
    """Raise ValueError if a part needs what the network lacks, or if a deployment rule is named twice."""
    network = composition.network
    for kind, bounds in composition.parts.items():
        for bound in bounds:
            for missing in sorted(bound.part.needs - network.gives):
                name = composition.only("network").name
                raise ValueError(f"{kind}={bound.name} needs {NEEDS[missing]}, which network={name} lacks")
    masks = composition.only("masks")
    if network.name == CONDITIONED and "code" not in masks.part.needs:
        raise ValueError(
            f"network={network.name} reads the verdicts that masks=conditioned gives it, not masks={masks.name}; "
            "use masks=conditioned"
        )
    first = composition.deployments[0]
    if composition.value("acting").share and first.measured is not None:
        raise ValueError(
            f"acting={composition.only('acting').name} acts by the first deployment rule, but deploy={first.name} is "
            "measured after training; put another rule first"
        )
    level = composition.only("level")
    if composition.value("optimizer").optimizer_class is SplitAdam and level.part.name == "hard":
        raise ValueError(
            "optimizer=split_adam needs the gradient of the policy without masks, but at level=hard the masks choose "
            "the policy; use optimizer=adam, or another level"
        )
    rules = [rule.name for rule in composition.deployments]
    if len(set(rules)) < len(rules):
        raise ValueError(f"deploy={'+'.join(rules)} has a rule twice")
