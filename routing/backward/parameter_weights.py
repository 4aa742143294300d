"""Per-example weights of a layer's parameters, checked against the shapes of the layer's activations."""

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from torch import Tensor

from routing.backward.primitives import Units, Weight
from routing.selectors import Piece

Source = Callable[[str], Tensor]
"""Maps a region to the current weight of each example, (B,) or (B, T); called in the forward pass."""


class ParameterWeight(NamedTuple):
    """The weight of one region on one parameter of a layer."""

    name: str
    """The parameter's name in `layer.named_parameters()`."""
    piece: Piece
    source: Source
    region: str

    @property
    def key(self) -> tuple:
        """Equal for two objects if their weights are equal."""
        return self.source, self.region, str(self.piece.units)


def check_weights(weight: Tensor, shape: Sequence[int], axis: int, what: str) -> Tensor:
    """Return the weights if they match the leading dimensions of an activation.

    Args:
        weight: (B,) or (B, T) weight of each example or token.
        shape: of the activation.
        axis: the axis of the units in `shape`; weights cover dimensions before it only.
        what: the name of the activation in the error.

    Raises:
        ValueError: the leading dimensions of `shape` are not those of the weights.
    """
    if weight.dim() > axis % len(shape) or tuple(shape[: weight.dim()]) != weight.shape:
        raise ValueError(
            f"labels are for {tuple(weight.shape)} examples, but {what} has shape {tuple(shape)}; "
            "give one label for each of its leading entries"
        )
    return weight


def bounds(units: slice | None) -> Units | None:
    """Convert a slice to a hashable tuple."""
    return None if units is None else (units.start, units.stop, units.step)


def weights_of(weights: Iterable[ParameterWeight], shape: Sequence[int], axis: int) -> list[Weight]:
    """Return the current values of the weights, for an activation of a shape."""
    return [
        Weight(
            check_weights(weight.source(weight.region), shape, axis, f"an activation at {weight.piece.name!r}"),
            bounds(weight.piece.units),
        )
        for weight in weights
    ]
