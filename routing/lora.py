"""Low-rank adapters as regions (Hu et al. 2021, arXiv 2106.09685): W = W0 + sum over regions of B_r A_r.

The adapted layers are frozen. Each region trains its own adapters and is ablated by scaling them to 0. With one region
that trains on every example this is ordinary low-rank adaptation.
"""

from fnmatch import fnmatchcase

from torch import Tensor, nn

from routing.errors import unknown_name
from routing.selectors import Part, Region, module


class Adapter(nn.Sequential):
    """Computes B A x with rank r. B is initialised to 0, so the adapter initially outputs 0."""

    def __init__(self, layer: nn.Linear, rank: int) -> None:
        down = nn.Linear(layer.in_features, rank, bias=False)
        up = nn.Linear(rank, layer.out_features, bias=False)
        nn.init.zeros_(up.weight)
        super().__init__(down, up)
        self.to(layer.weight)


class AdaptedLinear(nn.Module):
    """A frozen linear layer plus one adapter for each region.

    Attributes:
        scales: region -> factor of its adapter's output; 0 removes the adapter.
    """

    def __init__(self, base: nn.Linear) -> None:
        super().__init__()
        self.base = base.requires_grad_(False)
        self.adapters = nn.ModuleDict()
        self.scales: dict[str, float | Tensor] = {}

    def add(self, region: str, rank: int) -> None:
        """Add an adapter of a rank for a region."""
        self.adapters[region] = Adapter(self.base, rank)
        self.scales[region] = 1.0

    def forward(self, input: Tensor) -> Tensor:
        output = self.base(input)
        for name, adapter in self.adapters.items():
            output = output + self.scales[name] * adapter(input)
        return output


def lora(model: nn.Module, targets: str, rank: int, region: str) -> Part:
    """Add an adapter for a region to each linear layer whose name matches a pattern, and freeze those layers.

    >>> regions = Regions(model, {name: lora(model, "layers.*", 8, name) for name in ("keep", "forget")})

    Other parameters are left unchanged; freeze them too if only adapters should train. An optimiser created earlier
    does not contain the adapters.

    Args:
        model: edited in place: each matching layer is replaced by an `AdaptedLinear`.
        targets: shell pattern of names of linear layers, such as "layers.*.mlp.*".
        rank: rank r of each adapter.
        region: the name of the region, the same as in `Regions`.

    Returns:
        The adapters as a part for `Regions`.

    Raises:
        ValueError: no linear layer matches, or a matching layer already has an adapter for the region.
    """
    adapted = _adapted(model)
    prefixes = tuple(f"{name}." for name in adapted)
    linear = {name: layer for name, layer in model.named_modules() if isinstance(layer, nn.Linear)}
    linear = {name: layer for name, layer in linear.items() if not name.startswith(prefixes)}
    found = [name for name in (*adapted, *linear) if fnmatchcase(name, targets)]
    if not found:
        raise unknown_name("linear layer", targets, (*adapted, *linear))
    for name in found:
        if name in linear:
            adapted[name] = AdaptedLinear(linear[name])
            model.set_submodule(name, adapted[name])
        if region in adapted[name].adapters:
            raise ValueError(f"{name!r} already has an adapter for {region!r}; choose another region name")
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
    """Set the factor of the output of all adapters of a region.

    Args:
        model: contains the adapters.
        region: the region of the adapters.
        scale: one number, or (B, 1) with one factor for each example; 0 removes the adapters.
    """
    for layer in _adapted(model).values():
        if region in layer.scales:
            layer.scales[region] = scale


def start_from_zero(model: nn.Module) -> None:
    """Set B of every adapter to 0. Call it after an initialiser has overwritten all weights of the model."""
    for layer in _adapted(model).values():
        for adapter in layer.adapters.values():
            nn.init.zeros_(adapter[1].weight)  # type: ignore[index]
