"""Named regions of a network, and rules: the weight with which each label trains each region.

A weight is any real number: 1 trains, 0 does not, 2 doubles the gradient, -1 reverses it. Rules list labels by name.
A batch gives each example's label as an index into that list (hard labels) or as a real vector over it (soft labels).
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
    """Named regions of one model, resolved and checked against it. `print(regions)` lists their contents.

    >>> Regions(model, {"new": module("experts.new"), "half": units("mlp.0", slice(0, 32), out="mlp.2")})

    Args:
        model: the network.
        parts: region -> one part or several, each made by `module`, `params`, `units`, `lora` or `expand`.

    Raises:
        ValueError: there are no regions, or a path, pattern or slice matches nothing in the model; suggests the nearest
            name.
    """

    def __init__(self, model: nn.Module, parts: Mapping[str, Part | Sequence[Part]]) -> None:
        if not parts:
            raise ValueError("no regions given; name at least one, such as {'new': module('experts.new')}")
        self.model = model
        self._regions = {name: _resolved(model, part) for name, part in parts.items()}

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
        """Return a mask of the entries outside every region for each parameter that has such entries."""
        outside = {name: torch.ones_like(p, dtype=torch.bool) for name, p in self.model.named_parameters()}
        names = {id(p): name for name, p in self.model.named_parameters()}
        for piece in (piece for region in self.values() for piece in region.pieces):
            piece.of(outside[names[id(piece.parameter)]])[...] = False
        return {name: mask for name, mask in outside.items() if mask.any()}

    def __repr__(self) -> str:
        rest = self.elsewhere()
        rows = [("region", "numbers", "where")]
        rows += [(name, str(_size(region)), _first_few(_where(region))) for name, region in self.items()]
        rows.append((ELSEWHERE, str(sum(int(mask.sum()) for mask in rest.values())), _first_few(list(rest))))
        return "\n".join(f"{name:<16}{size:>10}  {where}" for name, size, where in rows)


def _resolved(model: nn.Module, parts: Part | Sequence[Part]) -> Region:
    found = [part(model) for part in (parts if isinstance(parts, Sequence) else [parts])]
    outputs = _distinct(output for region in found for output in region.outputs)
    return Region(outputs, _distinct(piece for region in found for piece in region.pieces))


def _distinct(items: Iterable[Item]) -> tuple[Item, ...]:
    distinct: list[Item] = []
    for item in items:
        if item not in distinct:
            distinct.append(item)
    return tuple(distinct)


def _size(region: Region) -> int:
    return sum(piece.of(piece.parameter).numel() for piece in region.pieces)


def _first_few(names: Sequence[str]) -> str:
    return ", ".join(names[:4]) + " ..." * (len(names) > 4)


def _where(region: Region) -> list[str]:
    named = [f"{output.path or '(model)'}{_span(output.units)}" for output in region.outputs]
    paths = tuple(f"{output.path}." if output.path else "" for output in region.outputs)
    rest = [piece for piece in region.pieces if not piece.name.startswith(paths)] if paths else region.pieces
    return named + [f"{piece.name}[:, {_span(piece.units)[1:]}" if piece.units else piece.name for piece in rest]


def _span(units: slice | None) -> str:
    return "" if units is None else f"[{units.start}:{units.stop}]"


def _unchanged(labels: Tensor) -> Tensor:
    return labels


class Rules:
    """A table of weights, label by region, with which an example of a label trains a region.

    >>> Rules(regions, ("seen", "unseen"), {"seen": {"forget": 0.0}})

    Args:
        regions: the columns of the table.
        labels: names of the labels, the rows of the table.
        weights: label -> region -> weight, for pairs whose weight differs from `default`.
        default: the weight of all other pairs.

    Attributes:
        table: (K, regions) float64 weights.

    Raises:
        ValueError: there are no labels, or a label or region is unknown; suggests the nearest name.
    """

    def __init__(
        self,
        regions: Regions,
        labels: Sequence[str],
        weights: Mapping[str, Mapping[str, float]] | None = None,
        default: float = 1.0,
    ) -> None:
        if not labels:
            raise ValueError("no labels given; name at least one, such as labels=('seen', 'unseen')")
        self.regions, self.labels = regions, tuple(labels)
        self._columns = {name: i for i, name in enumerate(regions)}
        self.table = torch.full((len(labels), len(regions)), default, dtype=torch.float64)  # (K, regions)
        self.mix = self._mix
        for label, row in (weights or {}).items():
            for region, weight in row.items():
                self.table[self._row(label), self.column(region)] = weight

    @classmethod
    def direct(cls, regions: Regions) -> "Rules":
        """Build rules with one label for each region that trains only it: soft labels are then the weights."""
        rules = cls(regions, tuple(regions), {name: {name: 1.0} for name in regions}, default=0.0)
        rules.mix = _unchanged  # skips the product with the identity table
        return rules

    def column(self, region: str) -> int:
        """Return the index of a region in the table. Raises ValueError if it is unknown."""
        if region not in self._columns:
            raise unknown_name("region", region, self._columns)
        return self._columns[region]

    def _row(self, label: str) -> int:
        if label not in self.labels:
            raise unknown_name("label", label, self.labels)
        return self.labels.index(label)

    def encode(self, labels: Sequence[str]) -> Tensor:
        """Convert label names, one for each example, to (B,) hard labels. Raises ValueError if one is unknown."""
        return torch.tensor([self._row(label) for label in labels], dtype=torch.long)

    def weigh(self, labels: Tensor) -> Tensor:
        """Compute the weight of each example in each region.

        Args:
            labels: hard, (B,) or (B, T) integer indices into the labels; or soft, (B, K) or (B, T, K) floats.

        Returns:
            (B, regions) or (B, T, regions) weights.

        Raises:
            ValueError: `labels` is empty, a hard label is out of range, or the last axis of soft labels is not K.
        """
        if labels.numel() == 0:
            raise ValueError(f"labels of shape {tuple(labels.shape)} are empty; give one label for each example")
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
            raise ValueError(
                f"soft labels have shape {shape}; the last axis must be {count}, the number of labels: {self.labels}"
            )

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
