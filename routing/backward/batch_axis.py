"""The axis of examples in a layer's activations: declared by the user, or 0 where nothing contradicts it.

Axis sizes are never compared to find the axis, because a batch of B sequences of length T can have T == B.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from routing.selectors import EMBEDDINGS, UNBATCHED_DIMS

BatchDim = int | Mapping[str, int] | None
"""Axis of examples, 0 or 1, for all regions or by region; None: not declared."""

CHECKED = (*EMBEDDINGS, *UNBATCHED_DIMS)  # layers whose arguments can lack an axis of examples
SEQUENCE_LAYERS = (nn.MultiheadAttention, nn.RNNBase)
CONTAINERS = (
    nn.MultiheadAttention,
    nn.TransformerEncoderLayer,
    nn.TransformerDecoderLayer,
    nn.TransformerEncoder,
    nn.TransformerDecoder,
    nn.Transformer,
)


def batch_dims(regions: Iterable[str], declared: BatchDim) -> dict[str, int | None]:
    """Return the declared axis of each region. Raises ValueError if it is neither 0 nor 1."""
    dims = {name: declared.get(name) if isinstance(declared, Mapping) else declared for name in regions}
    for name, dim in dims.items():
        if dim not in (None, 0, 1):
            raise ValueError(f"batch_dim of region {name!r} is {dim}; it must be 0 or 1")
    return dims


def check_declared(model: nn.Module, dims: Mapping[str, int | None]) -> None:
    """Raise ValueError if a region has no declared axis and the model contains sequence-first layers."""
    for name, dim in dims.items():
        if dim is None and (layer := _sequence_first_layer(model)) is not None:
            raise ValueError(
                f"{layer!r} has batch_first=False, so the batch axis of region {name!r} is ambiguous; "
                "declare it: Router(..., batch_dim=1), or batch_dim={region: 0 or 1}"
            )


def check_batch_first(model: nn.Module, layer: nn.Module, path: str, dim: int | None) -> None:
    """Raise ValueError if a layer in one of torch's transformer modules has another batch axis than declared."""
    for container in model.modules():
        if isinstance(container, CONTAINERS) and any(inner is layer for inner in container.modules()):
            attention = next(inner for inner in container.modules() if isinstance(inner, nn.MultiheadAttention))
            if attention.batch_first != (dim != 1):
                raise ValueError(
                    f"{path!r} belongs to a {type(container).__name__} with batch_first={attention.batch_first}, "
                    f"but batch_dim is {dim or 0}; declare Router(..., batch_dim={int(not attention.batch_first)})"
                )


def _sequence_first_layer(model: nn.Module) -> str | None:
    layers = (
        name for name, layer in model.named_modules() if isinstance(layer, SEQUENCE_LAYERS) and not layer.batch_first
    )
    return next(layers, None)


def check_arguments(layer: nn.Module, arguments: tuple[tuple, dict[str, Any]], path: str, dim: int | None) -> None:
    """Raise ValueError if the arguments of a layer have no axis of examples, or may have none.

    Args:
        layer: a layer of torch.
        arguments: its positional and keyword arguments.
        path: the name of the layer or its parameter in the error.
        dim: the declared axis of examples; None: not declared.
    """
    first = next((leaf for leaf in tree_leaves(arguments) if isinstance(leaf, Tensor)), None)
    if first is None:
        return
    unbatched = next((dims for kind, dims in UNBATCHED_DIMS.items() if isinstance(layer, kind)), None)
    if first.dim() == unbatched:
        raise ValueError(f"the input of the layer of {path!r} has shape {tuple(first.shape)}; add a batch axis")
    has_offsets = len(arguments[0]) > 1 or "offsets" in arguments[1]
    if isinstance(layer, EMBEDDINGS) and first.dim() == 1 and not has_offsets and dim is None:
        raise ValueError(
            f"the index of {path!r} is {tuple(first.shape)}, perhaps positions shared by all examples; "
            "expand it to (B, T), or if it has one entry for each example declare batch_dim=0"
        )
