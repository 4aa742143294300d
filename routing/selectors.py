"""A region of a network is made of parts: whole modules, parameters by name, or units of a layer.

A part knows two things about itself: where its activations leave (outputs), and which parameters, or which rows and
columns of them, it holds (pieces). Gradient masks act on the one or on the other.
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


class Output(NamedTuple):
    """Where a part's activations leave: a module's output, or some units of it."""

    path: str
    module: nn.Module
    axis: int = -1
    units: slice | None = None


@dataclass(frozen=True)
class Piece:
    """A parameter, or some rows or columns of it."""

    name: str
    """As the model's `named_parameters` has it."""
    owner: nn.Module
    local: str
    """Its name in the module that owns it."""
    axis: int = 0
    units: slice | None = None
    reads: bool = False
    """The piece is columns that read the units; otherwise rows that write them."""

    @property
    def parameter(self) -> nn.Parameter:
        return getattr(self.owner, self.local)

    def of(self, tensor: Tensor) -> Tensor:
        """The view of a tensor shaped like the parameter that this piece is."""
        return tensor if self.units is None else tensor[(slice(None),) * self.axis + (self.units,)]


class Region(NamedTuple):
    """Where activations leave, and what is learned."""

    outputs: tuple[Output, ...]
    pieces: tuple[Piece, ...]


Part = Callable[[nn.Module], Region]


def whole_piece(model: nn.Module, name: str) -> Piece:
    """The parameter of that name.

    Raises:
        ValueError: the parameter is computed from others at each use.
    """
    path, _, local = name.rpartition(".")
    owner = model.get_submodule(path)
    if isinstance(owner, ParametrizationList):
        raise ValueError(
            f"{name!r} belongs to a parametrization; route the layer's output, or remove the parametrization"
        )
    return Piece(name, owner, local)


def find_module(model: nn.Module, path: str) -> nn.Module:
    """The submodule of that path. Raises ValueError if there is none; names the nearest."""
    modules = dict(model.named_modules())
    if path not in modules:
        raise unknown_name("module", path, [name for name in modules if name])
    return modules[path]


def module(path: str) -> Part:
    """All parameters of a module, and its output."""

    def resolve(model: nn.Module) -> Region:
        found = find_module(model, path)
        names = [f"{path}.{name}" if path else name for name, _ in found.named_parameters()]
        return Region((Output(path, found),), tuple(whole_piece(model, name) for name in names))

    return resolve


def params(pattern: str) -> Part:
    """All parameters whose names match a shell pattern such as "layers.*.bias"; they have no output."""

    def resolve(model: nn.Module) -> Region:
        names = [name for name, _ in model.named_parameters()]
        found = [name for name in names if fnmatchcase(name, pattern)]
        if not found:
            raise unknown_name("parameters", pattern, names)
        return Region((), tuple(whole_piece(model, name) for name in found))

    return resolve


def units(path: str, where: slice, out: str | Sequence[str] = ()) -> Part:
    """Some units of a layer: the rows that write them, their activations, and the columns of `out` that read them.

    Args:
        path: a linear layer, a convolution (its channels), an embedding or a norm.
        where: which units.
        out: the layers that read them, linear or convolutions.
    """
    readers = (out,) if isinstance(out, str) else tuple(out)

    def resolve(model: nn.Module) -> Region:
        layer = find_module(model, path)
        if not isinstance(layer, LAST + SECOND):
            raise ValueError(
                f"units of {path!r} are not known, for it is a {type(layer).__name__}; "
                "name a linear layer, a convolution, an embedding or a norm, or use module(...)"
            )
        count, found = _count(layer), _inside(path, where, _count(layer))
        rows = [
            Piece(f"{path}.{name}", layer, name, 0 if isinstance(layer, READERS) else weight.dim() - 1, found)
            for name, weight in layer.named_parameters(recurse=False)
        ]
        columns = [_columns(model, reader, found, path, count) for reader in readers]
        output = Output(path, layer, 1 if isinstance(layer, SECOND) else -1, found)
        return Region((output,), (*rows, *columns))

    return resolve


def _count(layer: nn.Module) -> int:
    sizes = layer.__dict__
    for name in ("out_features", "out_channels", "embedding_dim", "num_channels"):
        if name in sizes:
            return sizes[name]
    return sizes["normalized_shape"][-1]


def _inside(path: str, where: slice, count: int) -> slice:
    """The slice with its ends made explicit."""
    start, stop, step = where.indices(count)
    if step < 1 or not start < stop or (where.stop or 0) > count or (where.start or 0) > count:
        raise ValueError(f"{where} takes no or missing units of {path!r}, which has {count}; use slice(start, stop)")
    return slice(start, stop, step)


def _columns(model: nn.Module, reader: str, found: slice, path: str, count: int) -> Piece:
    layer = find_module(model, reader)
    if not isinstance(layer, READERS) or getattr(layer, "groups", 1) != 1:
        raise ValueError(
            f"{reader!r} cannot read units, for it is {layer}; name a linear layer or an ungrouped convolution"
        )
    inputs = layer.weight.shape[1]
    if inputs != count:
        raise ValueError(f"{reader!r} reads {inputs} units, but {path!r} has {count}; name the layer that reads them")
    return Piece(f"{reader}.weight", layer, "weight", 1, found, reads=True)
