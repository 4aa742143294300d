"""Selectors of the parts that make up a region: whole modules, parameters by name, or units of a layer.

A part resolves to outputs (the activations it produces) and pieces (the parameters, or rows and columns of parameters,
that it contains). Gradient masks act on outputs or on pieces, depending on the level.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import NamedTuple

from torch import Tensor, nn
from torch.nn.utils.parametrize import ParametrizationList

from routing.errors import unknown_name

EMBEDDINGS = (nn.Embedding, nn.EmbeddingBag)
CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
READERS = (nn.Linear, *CONVOLUTIONS)  # layers whose weight is (out, in, ...)
LAST = (nn.Linear, nn.LayerNorm, nn.RMSNorm, *EMBEDDINGS)  # layers whose output is (B, ..., units)
SECOND = (*CONVOLUTIONS, nn.GroupNorm)  # layers whose output is (B, units, ...)
TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)
INSTANCE_NORMS = (nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d)
CHANNELS_SECOND = (*SECOND, *TRANSPOSED, *BATCH_NORMS, *INSTANCE_NORMS, nn.PReLU)  # no axis of tokens after the batch
UNBATCHED_DIMS: dict[
    type[nn.Module], int
] = {  # layers that also accept an input without batch axis, and its dimensions
    nn.MultiheadAttention: 2,
    **{kind: 2 + i for kinds in (CONVOLUTIONS, TRANSPOSED, INSTANCE_NORMS) for i, kind in enumerate(kinds)},
}


class Output(NamedTuple):
    """An output of a part: the output of a module, or some units of it."""

    path: str
    module: nn.Module
    axis: int = -1
    """The axis of the units in the module's output."""
    units: slice | None = None
    """The units of the part; None: all."""


@dataclass(frozen=True)
class Piece:
    """A parameter, or some rows or columns of it."""

    name: str
    """The parameter's name in `model.named_parameters()`."""
    owner: nn.Module
    local: str
    """The parameter's name in the module that owns it."""
    axis: int = 0
    units: slice | None = None
    reads: bool = False
    """True: columns that read the units; False: rows that write them, or a whole parameter."""

    @property
    def parameter(self) -> nn.Parameter:
        return getattr(self.owner, self.local)

    def of(self, tensor: Tensor) -> Tensor:
        """Return this piece's view of a tensor shaped like the parameter."""
        return tensor if self.units is None else tensor[(slice(None),) * self.axis + (self.units,)]


class Region(NamedTuple):
    """The outputs and the parameters of a region."""

    outputs: tuple[Output, ...]
    pieces: tuple[Piece, ...]


Part = Callable[[nn.Module], Region]


def whole_piece(model: nn.Module, name: str) -> Piece:
    """Return the piece that is the whole parameter of a name.

    Raises:
        ValueError: the parameter belongs to a parametrization, so the layer's weight is recomputed at each use.
    """
    path, _, local = name.rpartition(".")
    owner = model.get_submodule(path)
    if isinstance(owner, ParametrizationList):
        raise ValueError(
            f"{name!r} belongs to a parametrization; route the layer's output, or remove the parametrization"
        )
    return Piece(name, owner, local)


def find_module(model: nn.Module, path: str) -> nn.Module:
    """Return the submodule at a path. Raises ValueError if there is none; suggests the nearest path."""
    modules = dict(model.named_modules())
    if path not in modules:
        raise unknown_name("module", path, [name for name in modules if name])
    return modules[path]


def module(path: str) -> Part:
    """Select all parameters of a module and its output.

    Args:
        path: the module's path in the model; "" is the model itself.

    Raises:
        ValueError: (in `Regions`) there is no such module, or a parameter of it belongs to a parametrization.
    """

    def resolve(model: nn.Module) -> Region:
        found = find_module(model, path)
        names = [f"{path}.{name}" if path else name for name, _ in found.named_parameters()]
        output = Output(path, found, 1 if isinstance(found, CHANNELS_SECOND) else -1)
        return Region((output,), tuple(whole_piece(model, name) for name in names))

    return resolve


def params(pattern: str) -> Part:
    """Select all parameters whose names match a shell pattern such as "layers.*.bias"; there is no output.

    Args:
        pattern: shell pattern of names in `model.named_parameters()`.

    Raises:
        ValueError: (in `Regions`) no parameter matches, or a matching one belongs to a parametrization.
    """

    def resolve(model: nn.Module) -> Region:
        names = [name for name, _ in model.named_parameters()]
        found = [name for name in names if fnmatchcase(name, pattern)]
        if not found:
            raise unknown_name("parameter", pattern, names)
        return Region((), tuple(whole_piece(model, name) for name in found))

    return resolve


def units(path: str, where: slice, out: str | Sequence[str] = ()) -> Part:
    """Select units of a layer: the rows that write them, their activations, and the columns of `out` that read them.

    Args:
        path: a linear layer, a convolution (units are channels), an embedding or a norm.
        where: the units.
        out: the linear layers or convolutions that read the units.

    Raises:
        ValueError: (in `Regions`) a layer does not exist, is of another kind or has another number of units, or the
            slice is empty or out of range.
    """
    readers = (out,) if isinstance(out, str) else tuple(out)

    def resolve(model: nn.Module) -> Region:
        layer = find_module(model, path)
        if not isinstance(layer, LAST + SECOND):
            raise ValueError(
                f"{path!r} is a {type(layer).__name__}, which has no units; "
                "name a linear layer, a convolution, an embedding or a norm, or use module(...)"
            )
        _check_own_weight(layer, path)
        count = _count(layer)
        selected = _checked(path, where, count)
        rows = [
            Piece(f"{path}.{name}", layer, name, 0 if isinstance(layer, READERS) else weight.dim() - 1, selected)
            for name, weight in layer.named_parameters(recurse=False)
        ]
        columns = [_columns(model, reader, selected, path, count) for reader in readers]
        output = Output(path, layer, 1 if isinstance(layer, SECOND) else -1, selected)
        return Region((output,), (*rows, *columns))

    return resolve


def _check_own_weight(layer: nn.Module, path: str) -> None:
    own = dict(layer.named_parameters(recurse=False))
    if "weight" not in own and getattr(layer, "weight", None) is not None:
        raise ValueError(
            f"the weight of {path!r} is computed by a parametrization or hook; remove that, or route the layer's output"
        )


def _count(layer: nn.Module) -> int:
    sizes = layer.__dict__
    for name in ("out_features", "out_channels", "embedding_dim", "num_channels"):
        if name in sizes:
            return sizes[name]
    return sizes["normalized_shape"][-1]


def _checked(path: str, where: slice, count: int) -> slice:
    """Return the slice with explicit ends. Raises ValueError if it is empty or out of range."""
    start, stop, step = where.indices(count)
    if step < 1 or not start < stop or (where.stop or 0) > count or (where.start or 0) > count:
        raise ValueError(
            f"{where} is empty or out of range for {path!r}, which has {count} units; use slice(start, stop)"
        )
    return slice(start, stop, step)


def _columns(model: nn.Module, reader: str, selected: slice, path: str, count: int) -> Piece:
    layer = find_module(model, reader)
    if not isinstance(layer, READERS) or getattr(layer, "groups", 1) != 1:
        raise ValueError(
            f"{reader!r} cannot read units: it is {layer}; name a linear layer or an ungrouped convolution"
        )
    _check_own_weight(layer, reader)
    inputs = layer.weight.shape[1]
    if inputs != count:
        raise ValueError(f"{reader!r} reads {inputs} units, but {path!r} has {count}; name the layer that reads them")
    return Piece(f"{reader}.weight", layer, "weight", 1, selected, reads=True)
