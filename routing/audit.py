"""Measure what routing did: gradient norms by label and region, and how far parameters moved.

A mask acts on gradients, not on updates. Momentum moves a region whose gradient is zero in the current batch, weight
decay moves it at every step, and clipping the global norm couples regions. The reliable check is therefore how far
parameters moved.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn

from routing.regions import ELSEWHERE, Regions
from routing.router import Router

Loss = Callable[[Tensor], Tensor]
Snapshot = dict[str, Tensor]
"""Maps a region to its entries, flattened into one vector."""


class Audit(NamedTuple):
    """Gradient norms by label (rows) and region (columns); the last column is the parameters outside every region."""

    labels: tuple[str, ...]
    regions: tuple[str, ...]
    routed: Tensor  # (K, regions + 1)
    unrouted: Tensor  # (K, regions + 1)
    weights: Tensor  # (K, regions + 1)

    @property
    def leaks(self) -> list[tuple[str, str]]:
        """Pairs of label and region whose weight is 0 and whose gradient is not."""
        cells = ((self.weights == 0) & (self.routed > 0)).nonzero().tolist()
        return [(self.labels[i], self.regions[j]) for i, j in cells]

    def __str__(self) -> str:
        width = max(map(len, (*self.labels, "label"))) + 2
        lines = ["label".ljust(width) + "".join(f"{name:>22}" for name in self.regions)]
        for i, label in enumerate(self.labels):
            cells = (self._cell(i, j) for j in range(len(self.regions)))
            lines.append(label.ljust(width) + "".join(f"{cell:>22}" for cell in cells))
        leaks = ", ".join(f"{label} into {region}" for label, region in self.leaks)
        return "\n".join([*lines, f"routed / unrouted gradient norm; leaks: {leaks or 'none'}"])

    def _cell(self, i: int, j: int) -> str:
        leak = " LEAK" if (self.labels[i], self.regions[j]) in self.leaks else ""
        return f"{self.routed[i, j]:.3g} / {self.unrouted[i, j]:.3g}{leak}"


def projection(seed: int = 0) -> Loss:
    """Loss that projects the output on a random direction, so that every output receives a generic gradient."""

    def loss(output: Tensor) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        direction = torch.randn(output.shape, generator=generator).to(output)
        return (output * direction).sum()

    return loss


def audit(model: nn.Module, router: Router, batch: Tensor, labels: Tensor, loss: Loss | None = None) -> Audit:
    """Compute gradient norms for the examples of each label, routed and unrouted.

    Parameters and their `grad` are left unchanged.

    Args:
        model: the module that is called with the examples.
        router: the router to audit.
        batch: (B, ...) examples, or (T, B, ...) if the router declares batch_dim=1.
        labels: (B,) hard labels.
        loss: maps the model's output to a scalar; by default `projection()`.

    Returns:
        One row for each label that occurs in `labels`.

    Raises:
        ValueError: `labels` is empty or contains an unknown label.
    """
    loss, rules = loss or projection(), router.rules
    rules.weigh(labels)  # raises if labels are empty or unknown
    axis = router.batch_dim if isinstance(router.batch_dim, int) else 0
    present = labels.unique().tolist()  # indices of the labels that occur
    routed, unrouted = [], []
    for label in present:
        examples = batch.index_select(axis, (labels == label).nonzero().squeeze(1))
        with router(labels[labels == label]):
            routed.append(_norms(rules.regions, loss(model(examples))))
        unrouted.append(_norms(rules.regions, loss(model(examples))))
    weights = torch.cat([rules.table[present], torch.ones(len(present), 1, dtype=rules.table.dtype)], 1)
    names = tuple(rules.labels[label] for label in present)
    return Audit(names, (*rules.regions, ELSEWHERE), torch.stack(routed), torch.stack(unrouted), weights)


def _norms(regions: Regions, loss: Tensor) -> Tensor:
    """Compute the (regions + 1,) norms of the gradient of a loss."""
    trainable = {name: p for name, p in regions.model.named_parameters() if p.requires_grad}
    found = torch.autograd.grad(loss, list(trainable.values()), allow_unused=True)
    gradients = {name: g for name, g in zip(trainable, found, strict=True) if g is not None}
    return torch.tensor(
        [float(entries.norm()) for entries in _entries(regions, gradients).values()], dtype=torch.float64
    )


def _entries(regions: Regions, tensors: Mapping[str, Tensor]) -> Snapshot:
    """Split tensors named and shaped like parameters into the entries of each region and the entries of none."""
    entries = {
        name: [p.of(tensors[p.name]) for p in region.pieces if p.name in tensors] for name, region in regions.items()
    }
    entries[ELSEWHERE] = [tensors[name][mask] for name, mask in regions.elsewhere().items() if name in tensors]
    return {
        name: torch.cat([torch.zeros(0), *(part.flatten().cpu() for part in parts)]) for name, parts in entries.items()
    }


def snapshot(regions: Regions) -> Snapshot:
    """Copy the current parameters of each region, and those outside every region under `(elsewhere)`."""
    parameters = {name: p.detach() for name, p in regions.model.named_parameters()}
    return {name: entries.clone() for name, entries in _entries(regions, parameters).items()}


def moved(before: Snapshot, after: Snapshot) -> dict[str, float]:
    """Compute the largest absolute change of any entry of each region between two snapshots.

    Args:
        before: the earlier snapshot.
        after: the later snapshot of the same regions.

    Returns:
        Region name -> largest change; exactly 0 if nothing moved.
    """
    changes = {name: (after[name] - entries).abs() for name, entries in before.items()}
    return {name: float(change.max()) if len(change) else 0.0 for name, change in changes.items()}
