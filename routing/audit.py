"""What routing did, measured: gradients by label and region, and how far parameters moved.

A mask acts on gradients, not on updates. Momentum moves a region in a batch where its gradient is zero, weight decay
moves it always, and clipping the global norm couples regions; so the honest check is how far parameters moved.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn

from routing.regions import ELSEWHERE, Regions
from routing.router import Router

Loss = Callable[[Tensor], Tensor]
Snapshot = dict[str, Tensor]
"""Region -> all the numbers it holds, in one row."""


class Audit(NamedTuple):
    """Norms of gradients by label (rows) and region (columns); the last column is what no region holds."""

    labels: tuple[str, ...]
    regions: tuple[str, ...]
    routed: Tensor  # (K, regions + 1)
    unrouted: Tensor  # (K, regions + 1)
    weights: Tensor  # (K, regions + 1)

    @property
    def leaks(self) -> list[tuple[str, str]]:
        """Label and region where the weight is 0 and the gradient is not."""
        places = ((self.weights == 0) & (self.routed > 0)).nonzero().tolist()
        return [(self.labels[i], self.regions[j]) for i, j in places]

    def __str__(self) -> str:
        width = max(map(len, (*self.labels, "label"))) + 2
        lines = ["label".ljust(width) + "".join(f"{name:>22}" for name in self.regions)]
        for i, label in enumerate(self.labels):
            cells = (self._cell(i, j) for j in range(len(self.regions)))
            lines.append(label.ljust(width) + "".join(f"{cell:>22}" for cell in cells))
        leaks = ", ".join(f"{label} into {region}" for label, region in self.leaks)
        return "\n".join([*lines, f"routed / unrouted norm of gradients; leaks: {leaks or 'none'}"])

    def _cell(self, i: int, j: int) -> str:
        leak = " LEAK" if (self.labels[i], self.regions[j]) in self.leaks else ""
        return f"{self.routed[i, j]:.3g} / {self.unrouted[i, j]:.3g}{leak}"


def projection(seed: int = 0) -> Loss:
    """The output's component along a random direction: a gradient reaches every output and cancels by no symmetry."""

    def loss(output: Tensor) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        direction = torch.randn(output.shape, generator=generator).to(output)
        return (output * direction).sum()

    return loss


def audit(model: nn.Module, router: Router, batch: Tensor, labels: Tensor, loss: Loss | None = None) -> Audit:
    """Gradients of each label's examples, routed and not. Parameters and their `grad` stay as they are.

    Args:
        model: what is called with the examples.
        batch: (B, ...).
        labels: (B,) hard labels.
        loss: of the model's output; by default `projection()`.

    Returns:
        A row for each label that occurs.
    """
    loss, rules = loss or projection(), router.rules
    rules.weigh(labels)  # raises if there are none, or one is unknown
    present = labels.unique().tolist()
    routed, unrouted = [], []
    for place in present:
        examples = batch[labels == place]
        with router(labels[labels == place]):
            routed.append(_norms(rules.regions, loss(model(examples))))
        unrouted.append(_norms(rules.regions, loss(model(examples))))
    weights = torch.cat([rules.table[present], torch.ones(len(present), 1, dtype=rules.table.dtype)], 1)
    names = tuple(rules.labels[place] for place in present)
    return Audit(names, (*rules.regions, ELSEWHERE), torch.stack(routed), torch.stack(unrouted), weights)


def _norms(regions: Regions, loss: Tensor) -> Tensor:
    """(regions + 1,) norms of the gradient of a loss."""
    learned = {name: p for name, p in regions.model.named_parameters() if p.requires_grad}
    found = torch.autograd.grad(loss, list(learned.values()), allow_unused=True)
    gradients = {name: g for name, g in zip(learned, found, strict=True) if g is not None}
    return torch.tensor([float(held.norm()) for held in _held(regions, gradients).values()], dtype=torch.float64)


def _held(regions: Regions, tensors: Mapping[str, Tensor]) -> Snapshot:
    """Of tensors named as parameters: what each region holds of them, and what none does."""
    held = {
        name: [p.of(tensors[p.name]) for p in region.pieces if p.name in tensors] for name, region in regions.items()
    }
    held[ELSEWHERE] = [tensors[name][mask] for name, mask in regions.elsewhere().items() if name in tensors]
    return {
        name: torch.cat([torch.zeros(0), *(part.flatten().cpu() for part in parts)]) for name, parts in held.items()
    }


def snapshot(regions: Regions) -> Snapshot:
    """A copy of what each region holds now, and of what none does."""
    return {
        name: held.clone()
        for name, held in _held(regions, {n: p.detach() for n, p in regions.model.named_parameters()}).items()
    }


def moved(before: Snapshot, after: Snapshot) -> dict[str, float]:
    """Region -> the largest change of any of its parameters between two snapshots; exactly 0 if nothing moved."""
    changes = {name: (after[name] - held).abs() for name, held in before.items()}
    return {name: float(change.max()) if len(change) else 0.0 for name, change in changes.items()}
