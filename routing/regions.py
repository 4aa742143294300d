"""Regions name what a network should keep apart; rules say how much each kind of example trains each region.

A rule is any real number: 1 trains, 0 does not, 2 trains twice, -1 untrains. Rules know labels by name, and batches by
the place of each example's label in that list, or by a row of real numbers over the labels.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TypeVar

import torch
from torch import Tensor, nn

from routing.errors import unknown_name
from routing.selectors import Part, Region

Item = TypeVar("Item")

ELSEWHERE = "(elsewhere)"


class Regions(Mapping[str, Region]):
    """Named regions of one model, checked against it; printable.

    >>> Regions(model, {"new": module("experts.new"), "half": units("mlp.0", slice(0, 32), out="mlp.2")})

    Args:
        model: the network.
        parts: what each region is made of, one part or several: `module`, `params`, `units`.

    Raises:
        ValueError: a path, a pattern or a slice names nothing in the model; names the nearest.
    """

    def __init__(self, model: nn.Module, parts: Mapping[str, Part | Sequence[Part]]) -> None:
        if not parts:
            raise ValueError("no regions were given; name at least one, such as {'new': module('experts.new')}")
        self.model = model
        self._regions = {name: _resolved(model, given) for name, given in parts.items()}

    def __getitem__(self, name: str) -> Region:
        if name not in self._regions:
            raise unknown_name("region", name, self._regions)
        return self._regions[name]

    def __contains__(self, name: object) -> bool:
        return name in self._regions

    def __iter__(self) -> Iterator[str]:
        return iter(self._regions)

    def __len__(self) -> int:
        return len(self._regions)

    def elsewhere(self) -> dict[str, Tensor]:
        """Parameter -> mask of its entries that no region holds."""
        loose = {name: torch.ones_like(p, dtype=torch.bool) for name, p in self.model.named_parameters()}
        names = {id(p): name for name, p in self.model.named_parameters()}
        for piece in (piece for region in self.values() for piece in region.pieces):
            piece.of(loose[names[id(piece.parameter)]])[...] = False
        return {name: mask for name, mask in loose.items() if mask.any()}

    def __repr__(self) -> str:
        rest = self.elsewhere()
        rows = [("region", "numbers", "where")]
        rows += [(name, str(_size(region)), _listed(_where(region))) for name, region in self.items()]
        rows.append((ELSEWHERE, str(sum(int(mask.sum()) for mask in rest.values())), _listed(list(rest))))
        return "\n".join(f"{name:<16}{size:>10}  {where}" for name, size, where in rows)


def _resolved(model: nn.Module, given: Part | Sequence[Part]) -> Region:
    found = [part(model) for part in (given if isinstance(given, Sequence) else [given])]
    outputs = _distinct(output for region in found for output in region.outputs)
    return Region(outputs, _distinct(piece for region in found for piece in region.pieces))


def _distinct(items: Iterable[Item]) -> tuple[Item, ...]:
    kept: list[Item] = []
    for item in items:
        if item not in kept:
            kept.append(item)
    return tuple(kept)


def _size(region: Region) -> int:
    return sum(piece.of(piece.parameter).numel() for piece in region.pieces)


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:4]) + " ..." * (len(names) > 4)


def _where(region: Region) -> list[str]:
    named = [f"{output.path or '(model)'}{_span(output.units)}" for output in region.outputs]
    paths = tuple(f"{output.path}." if output.path else "" for output in region.outputs)
    loose = [piece for piece in region.pieces if not piece.name.startswith(paths)] if paths else region.pieces
    return named + [f"{piece.name}[:, {_span(piece.units)[1:]}" if piece.units else piece.name for piece in loose]


def _span(units: slice | None) -> str:
    return "" if units is None else f"[{units.start}:{units.stop}]"


def _as_they_are(labels: Tensor) -> Tensor:
    return labels


class Rules:
    """One table, label by region, of the weight with which an example trains a region.

    >>> Rules(regions, ("seen", "unseen"), {"seen": {"forget": 0.0}})

    Args:
        regions: the columns.
        labels: the rows.
        weights: label -> region -> weight, where it is not `default`.
        default: the weight of all other pairs.

    Raises:
        ValueError: there are no labels, or a label or region is unknown; names the nearest.
    """

    def __init__(
        self,
        regions: Regions,
        labels: Sequence[str],
        weights: Mapping[str, Mapping[str, float]] | None = None,
        default: float = 1.0,
    ) -> None:
        if not labels:
            raise ValueError("no labels were given; rules need one row at least, such as labels=('seen', 'unseen')")
        self.regions, self.labels = regions, tuple(labels)
        self.places = {name: i for i, name in enumerate(regions)}
        self.table = torch.full((len(labels), len(regions)), default, dtype=torch.float64)  # (K, regions)
        self.mix = self._mix
        for label, row in (weights or {}).items():
            for region, weight in row.items():
                self.table[self._row(label), self.column(region)] = weight

    @classmethod
    def direct(cls, regions: Regions) -> "Rules":
        """A label for each region, which trains it alone: soft labels are then the weights themselves."""
        rules = cls(regions, tuple(regions), {name: {name: 1.0} for name in regions}, default=0.0)
        rules.mix = _as_they_are  # no product with a table of ones and zeros
        return rules

    def column(self, region: str) -> int:
        if region not in self.places:
            raise unknown_name("region", region, self.places)
        return self.places[region]

    def _row(self, label: str) -> int:
        if label not in self.labels:
            raise unknown_name("label", label, self.labels)
        return self.labels.index(label)

    def encode(self, labels: Sequence[str]) -> Tensor:
        """Names of labels, one for each example -> (B,) hard labels."""
        return torch.tensor([self._row(label) for label in labels], dtype=torch.long)

    def weigh(self, labels: Tensor) -> Tensor:
        """The weight of each example in each region.

        Args:
            labels: hard, (B,) or (B, T) integers that are places in `labels`; or soft, (B, K) or (B, T, K) real.

        Returns:
            (B, regions) or (B, T, regions).

        Raises:
            ValueError: there are no labels, one is out of range, or soft ones are not over K.
        """
        if labels.numel() == 0:
            raise ValueError(f"labels of shape {tuple(labels.shape)} are empty; give one for each example")
        if labels.is_floating_point():
            self._check_soft(labels)
            return self.mix(labels)
        self._check_hard(labels)
        return self.table.to(labels.device)[labels.long()]

    def _mix(self, labels: Tensor) -> Tensor:
        return labels @ self.table.to(labels)

    def _check_soft(self, labels: Tensor) -> None:
        if labels.dim() == 0 or labels.shape[-1] != len(self.labels):
            shape, count = tuple(labels.shape), len(self.labels)
            raise ValueError(f"soft labels of shape {shape} do not end in {count}, the number of labels: {self.labels}")

    def _check_hard(self, labels: Tensor) -> None:
        low, high = int(labels.min()), int(labels.max())
        if low < 0 or high >= len(self.labels):
            found = low if low < 0 else high
            raise ValueError(f"unknown label {found}; labels are 0 to {len(self.labels) - 1}: {', '.join(self.labels)}")

    def __repr__(self) -> str:
        width = max(map(len, (*self.labels, "label"))) + 2
        head = "label".ljust(width) + "".join(f"{name:>16}" for name in self.regions)
        rows = zip(self.labels, self.table.tolist(), strict=True)
        return "\n".join([head, *(label.ljust(width) + "".join(f"{w:>16g}" for w in row) for label, row in rows)])
