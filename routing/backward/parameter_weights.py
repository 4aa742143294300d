"""What a region holds of a layer's parameters, and the weight of each example as the layer's tensors need it."""

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from torch import Tensor

from routing.backward.primitives import Units, Weight
from routing.selectors import Piece

Source = Callable[[str], Tensor]
"""Region -> the weight of each example, (B,) or (B, T), as it is during the forward pass."""


class ParameterWeight(NamedTuple):
    """One region's hold on one parameter of a layer."""

    name: str
    """The parameter, as the layer's `named_parameters` has it."""
    piece: Piece
    source: Source
    region: str

    @property
    def key(self) -> tuple:
        """Equal for holds of equal weights."""
        return self.source, self.region, str(self.piece.units)


def check_weights(weight: Tensor, shape: Sequence[int], axis: int, what: str) -> Tensor:
    """The weight of each example, (B,) or (B, T), of an activation of a shape, its units along `axis`.

    Raises:
        ValueError: the activation does not have one entry for each weight; names `what`.
    """
    if weight.dim() > axis % len(shape) or tuple(shape[: weight.dim()]) != weight.shape:
        raise ValueError(
            f"labels are for {tuple(weight.shape)} examples, but {what} has shape {tuple(shape)}; "
            "give one label for each of its leading entries"
        )
    return weight


def bounds(units: slice | None) -> Units | None:
    return None if units is None else (units.start, units.stop, units.step)


def weights_of(holds: Iterable[ParameterWeight], shape: Sequence[int], axis: int) -> list[Weight]:
    """The weights of all holds on an activation of a shape."""
    return [
        Weight(
            check_weights(hold.source(hold.region), shape, axis, f"an activation at {hold.piece.name!r}"),
            bounds(hold.piece.units),
        )
        for hold in holds
    ]
