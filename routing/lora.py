"""Low-rank adapters (Hu et al. 2021, arXiv 2106.09685) that are regions: W = W0 + sum over regions of B_r A_r.

The layers they adapt are frozen and never move; each region learns in its own adapters, and is ablated by leaving
them out. With one region that trains on everything this is ordinary low-rank adaptation.
"""

from fnmatch import fnmatchcase

from torch import Tensor, nn

from routing.errors import unknown_name
from routing.selectors import Part, Region, module


class Adapter(nn.Sequential):
    """B A x, of rank r; B starts at 0, and with it the adapter's value."""

    def __init__(self, layer: nn.Linear, rank: int) -> None:
        down = nn.Linear(layer.in_features, rank, bias=False)
        up = nn.Linear(rank, layer.out_features, bias=False)
        nn.init.zeros_(up.weight)
        super().__init__(down, up)
        self.to(layer.weight)


class AdaptedLinear(nn.Module):
    """A frozen linear layer and the adapters of each region.

    Attributes:
        scales: region -> factor of its adapter's value; 0 leaves it out.
    """

    def __init__(self, base: nn.Linear) -> None:
        super().__init__()
        self.base = base.requires_grad_(False)
        self.adapters = nn.ModuleDict()
        self.scales: dict[str, float | Tensor] = {}

    def add(self, region: str, rank: int) -> None:
        self.adapters[region] = Adapter(self.base, rank)
        self.scales[region] = 1.0

    def forward(self, input: Tensor) -> Tensor:
        output = self.base(input)
        for name, adapter in self.adapters.items():
            output = output + self.scales[name] * adapter(input)
        return output


def lora(model: nn.Module, targets: str, rank: int, region: str) -> Part:
    """Give a region an adapter on each linear layer whose name matches, and freeze those layers.

    >>> regions = Regions(model, {name: lora(model, "layers.*", 8, name) for name in ("keep", "forget")})

    Parameters that are no target stay as they are; freeze them too if nothing but adapters is to learn. An
    optimiser made before does not know the adapters.

    Args:
        targets: shell pattern of the names of linear layers, such as "layers.*.mlp.*".
        rank: of each adapter.
        region: name of the adapters, the same as in `Regions`.

    Returns:
        The adapters, to be named in `Regions`.

    Raises:
        ValueError: no linear layer matches, or one has an adapter of that name already.
    """
    adapted = _adapted(model)
    inside = tuple(f"{name}." for name in adapted)
    linear = {name: layer for name, layer in model.named_modules() if isinstance(layer, nn.Linear)}
    linear = {name: layer for name, layer in linear.items() if not name.startswith(inside)}
    found = [name for name in (*adapted, *linear) if fnmatchcase(name, targets)]
    if not found:
        raise unknown_name("linear layers", targets, (*adapted, *linear))
    for name in found:
        if name in linear:
            adapted[name] = AdaptedLinear(linear[name])
            model.set_submodule(name, adapted[name])
        if region in adapted[name].adapters:
            raise ValueError(f"{name!r} has an adapter for {region!r} already; choose another region")
        adapted[name].add(region, rank)
    return _adapters(found, region)


def _adapted(model: nn.Module) -> dict[str, AdaptedLinear]:
    return {name: layer for name, layer in model.named_modules() if isinstance(layer, AdaptedLinear)}


def _adapters(names: list[str], region: str) -> Part:
    parts = [module(f"{name}.adapters.{region}") for name in names]

    def resolve(model: nn.Module) -> Region:
        found = [part(model) for part in parts]
        return Region(tuple(o for r in found for o in r.outputs), tuple(p for r in found for p in r.pieces))

    return resolve


def set_scale(model: nn.Module, region: str, scale: float | Tensor) -> None:
    """Multiply the value of all of a region's adapters, by one number or by (B, 1); 0 leaves them out."""
    for layer in _adapted(model).values():
        if region in layer.scales:
            layer.scales[region] = scale


def start_from_zero(model: nn.Module) -> None:
    """Set B of every adapter to 0, as after an initialisation that knows nothing of adapters."""
    for layer in _adapted(model).values():
        for adapter in layer.adapters.values():
            nn.init.zeros_(adapter[1].weight)  # type: ignore[index]
