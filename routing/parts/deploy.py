"""Deployment rules: (number of experts) -> Deployment. An arm may have several: `whole+early_stopping`.

The first rule decides the weights that are saved, and gives the arm its row in tables; the others have a row of their
own, arm/rule, and cost no training.
"""

from routing.oversight.composition import WHOLE, Deployment
from routing.oversight.parts import part


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


@part("deploy")
def early_stopping(experts: int) -> Deployment:
    """The whole policy at the checkpoint with the best return of judged episodes, which the overseer can read."""
    return Deployment("early_stopping", selects_by="oversight/labelled_return")


@part("deploy")
def best_checkpoint(experts: int) -> Deployment:
    """The whole policy at the checkpoint with the best true return, which no overseer could choose."""
    return Deployment("best_checkpoint", selects_by="eval/true_return/whole", leaky=True)
