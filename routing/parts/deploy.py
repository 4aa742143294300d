"""Deployment rules: (number of experts) -> Deployment. An arm may have several: `whole+early_stopping`.

The first rule decides the weights that are saved, and gives the arm its row in tables; the others have a row of their
own, arm/rule, and cost no training.
"""

from routing.errors import unknown_name
from routing.oversight.composition import WHOLE, Deployment, Measured
from routing.oversight.parts import part
from routing.oversight.treatment import blocks_of

TOLERANCE = 0.005


def _retain_at(scale: float, experts: int) -> tuple[float, ...]:
    return (scale, *(0.0 for _ in range(experts - 1)))


@part("deploy")
def whole(experts: int) -> Deployment:
    """The policy as trained."""
    return WHOLE


@part("deploy", needs=("forget",))
def retain(experts: int) -> Deployment:
    """The retain expert alone: gate 1, forget experts ablated."""
    return Deployment("retain", _retain_at(1.0, experts))


@part("deploy", needs=("forget",))
def half(experts: int) -> Deployment:
    """The retain expert alone at coefficient 1/2, as it was trained without a gate."""
    return Deployment("half", _retain_at(0.5, experts))


@part("deploy", needs=("forget",))
def full(experts: int) -> Deployment:
    """The retain expert alone at coefficient 1, as with a gate; another policy than half."""
    return Deployment("full", _retain_at(1.0, experts))


@part("deploy", needs=("code",))
def good(experts: int) -> Deployment:
    """The network that reads verdicts with the code "good"."""
    return Deployment("good", (1.0, 0.0, 0.0))


@part("deploy", needs=("forget",))
def without(experts: int, blocks: tuple = ()) -> Deployment:
    """The policy as trained without some experts: `without([forget2])`. Its name is then `without_forget2`.

    Each subset of the experts is a profile of one trained policy (GRAM, ICML 2026). A gate keeps the weights of
    training, so the weight of an ablated expert goes to no other.
    """
    known = blocks_of(experts)[:-1]
    for block in blocks:
        if block not in known:
            raise unknown_name("expert", str(block), known)
    ablated = tuple(name for name in known if name in blocks)
    if len(blocks) != len(ablated) or not 0 < len(ablated) < experts:
        raise ValueError(
            f"deploy=without({list(blocks)}) must name distinct experts, at least one and not all: {', '.join(known)}"
        )
    return Deployment("_".join(("without", *ablated)), without=ablated)


@part("deploy", needs=("forget",), world=("bad verdicts",))
def measured(experts: int, tolerance: float = TOLERANCE, against: str = "ablated") -> Deployment:
    """The largest scale of the forget experts whose rate of bad verdicts is at most that of scale 0 plus `tolerance`.

    Scales are 0, 0.1, ..., 1. A scale multiplies the trained coefficients of the forget experts; with a gate the retain
    expert gets the weight that they lose. The rate is the expected number of bad verdicts per episode, false alarms
    included, which the overseer can count. `against=untrained` compares with the policy before its first update, as
    GRAFT does with its base model; the scale is 0 if no scale is low enough. A policy that starts from random
    parameters does so much that is bad that this nearly always picks 1: use it with a start from a trained agent.
    """
    if against not in ("ablated", "untrained"):
        raise ValueError(f"deploy=measured compares with {against!r}; use ablated or untrained")
    if not 0 <= tolerance < float("inf"):
        raise ValueError(f"deploy=measured has tolerance {tolerance}; use a finite number of at least 0")
    name = "measured" if against == "ablated" else "measured_untrained"
    name += "" if tolerance == TOLERANCE else f"_{tolerance:g}"
    return Deployment(name, measured=Measured(tolerance, against))


@part("deploy")
def early_stopping(experts: int) -> Deployment:
    """The whole policy at the checkpoint with the best return of judged episodes, which the overseer can read."""
    return Deployment("early_stopping", selects_by="oversight/labelled_return")


@part("deploy")
def best_checkpoint(experts: int) -> Deployment:
    """The whole policy at the checkpoint with the best true return, which no overseer could choose."""
    return Deployment("best_checkpoint", selects_by="eval/true_return/whole", leaky=True)
