"""What a region holds of a layer's parameters, and the weight of each example as the layer's tensors need it."""

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import torch

from routing.parts import Piece, Tensor

Source = Callable[[str], Tensor]
"""Region -> the weight of each example, (B,) or (B, T), as it is during the forward pass."""


class Hold(NamedTuple):
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


def aligned(weight: Tensor, like: Tensor, shape: Sequence[int], axis: int, units: slice | None, what: str) -> Tensor:
    """The weight of each example for these units of an activation, and 1 for its other units.

    Args:
        weight: (B,) or (B, T).
        like: has the dtype wanted.
        shape: (B, ..., units, ...) of the activation, units along `axis`.

    Returns:
        A tensor that broadcasts to `shape`.

    Raises:
        ValueError: the activation does not have one entry for each weight; names `what`.
    """
    dims = len(shape)
    if weight.dim() > axis % dims or tuple(shape[: weight.dim()]) != weight.shape:
        raise ValueError(
            f"labels are for {tuple(weight.shape)} examples, but {what} has shape {tuple(shape)}; "
            "give one label for each of its leading entries"
        )
    full = weight.to(like.dtype).reshape(weight.shape + (1,) * (dims - weight.dim()))
    if units is None:
        return full
    inside = torch.zeros(shape[axis], dtype=torch.bool, device=full.device)
    inside[units] = True
    return torch.where(inside.reshape([-1 if i == axis % dims else 1 for i in range(dims)]), full, 1.0)


def product(holds: Iterable[Hold], like: Tensor, shape: Sequence[int], axis: int) -> Tensor | None:
    """The product of the aligned weights of all holds; None if there are none."""
    product = None
    for hold in holds:
        what = f"an activation at {hold.piece.name!r}"
        factor = aligned(hold.source(hold.region), like, shape, axis, hold.piece.units, what)
        product = factor if product is None else product * factor
    return product
