"""Per-example weights of a layer's parameters, checked against the shapes of the layer's activations."""

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from torch import Tensor

from routing.backward.primitives import Units, Weight
from routing.selectors import Piece

Source = Callable[[str], Tensor]
"""Maps a region to the current weight of each example, (B,) or (B, T); called in the forward pass."""


class RegionWeight(NamedTuple):
    """The weight of each example in a region, and the axis of examples in the region's activations."""

    source: Source
    region: str
    batch_dim: int | None
    """0 or 1; None: not declared, 0 is used."""

    def values(self, shape: Sequence[int], axis: int, what: str) -> Tensor:
        """Return the current weights, shaped to broadcast to an activation from the left; see `check_weights`."""
        return check_weights(self.source(self.region), shape, axis, what, self.batch_dim)


class ParameterWeight(NamedTuple):
    """The weight of one region on one parameter of a layer."""

    name: str
    """The parameter's name in `layer.named_parameters()`."""
    piece: Piece
    weight: RegionWeight

    @property
    def key(self) -> tuple:
        """Equal for two objects if their weights are equal."""
        return self.weight, str(self.piece.units)


def batch_first(weight: ParameterWeight) -> ParameterWeight:
    """Return the same weight for activations with examples on axis 0."""
    return weight._replace(weight=weight.weight._replace(batch_dim=0))


def check_weights(weight: Tensor, shape: Sequence[int], axis: int, what: str, batch_dim: int | None = None) -> Tensor:
    """Return the weights, shaped to broadcast to an activation from the left, if they match its leading dimensions.

    Args:
        weight: (B,) or (B, T) weight of each example or token.
        shape: of the activation.
        axis: the axis of the units in `shape`; weights cover dimensions before it only.
        what: the name of the activation in the error.
        batch_dim: the axis of examples in `shape`: None or 0 for (B, T, ...), 1 for (T, B, ...).

    Raises:
        ValueError: the leading dimensions of `shape` are not those of the weights, or another axis has the number of
            tokens.
    """
    if batch_dim == 1 and weight.dim():
        leading: tuple[int, ...] = (*shape[:1], *weight.shape) if weight.dim() == 1 else weight.shape[1::-1]
        placed = weight.unsqueeze(0) if weight.dim() == 1 else weight.transpose(0, 1)
    else:
        leading, placed = tuple(weight.shape), weight
    if placed.dim() > axis % max(len(shape), 1) or tuple(shape[: placed.dim()]) != tuple(leading):
        raise ValueError(
            f"labels are for {tuple(weight.shape)} examples, but {what} has shape {tuple(shape)} "
            f"with examples on axis {batch_dim or 0}; give one label for each example, or declare batch_dim"
        )
    if weight.dim() > 1 and any(size in weight.shape[1:] for size in shape[weight.dim() : axis % len(shape)]):
        raise ValueError(
            f"labels are for {tuple(weight.shape)} tokens, but {what} has shape {tuple(shape)}, where several axes "
            "have the number of tokens; give one label for each example, or route another layer"
        )
    return placed


def bounds(units: slice | None) -> Units | None:
    """Convert a slice to a hashable tuple."""
    return None if units is None else (units.start, units.stop, units.step)


def weights_of(weights: Iterable[ParameterWeight], shape: Sequence[int], axis: int) -> list[Weight]:
    """Return the current values of the weights, for an activation of a shape."""
    return [
        Weight(weight.weight.values(shape, axis, f"an activation at {weight.piece.name!r}"), bounds(weight.piece.units))
        for weight in weights
    ]
