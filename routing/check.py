"""Check a router against a loop over single examples, in a float64 copy of the user's model.

Routing is exact only if the axis of examples is the one declared, examples keep their order inside the model, and no
layer mixes them. The router cannot observe all of this; the loop does.
"""

import copy
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map_only

from routing.backward.primitives import is_differentiable, scale_grad, unit_mask
from routing.regions import Regions, Rules
from routing.selectors import Output, Region

Loss = Callable[[Any], Tensor]
Gradients = dict[str, Tensor]
TOLERANCE = {torch.float64: 1e-8, torch.float32: 1e-3}
DROPOUTS = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.FeatureAlphaDropout)


class Route(Protocol):
    """Builds a router of a model and rules, with the levels and axes of the router under test."""

    def __call__(self, model: nn.Module, rules: Rules) -> Callable[[Tensor], Any]: ...


class CheckSetup(NamedTuple):
    """A copy of the model with its regions, and the examples."""

    model: nn.Module
    regions: Regions
    levels: Mapping[str, str]
    batch: Any
    axis: int  # of examples in the batch
    size: int  # B
    loss: Loss

    def fresh(self) -> "CheckSetup":
        """Copy the model, so that each pass starts from the same state."""
        model, regions = copied(self.model, self.regions)
        return self._replace(model=model, regions=regions)


def check_router(
    model: nn.Module,
    rules: Rules,
    levels: Mapping[str, str],
    route: Route,
    batch: Any,
    labels: Tensor,
    loss: Loss | None,
    axis: int,
) -> float:
    """Compare routed gradients with a loop over examples, for the labels and for random weights; see `Router.check`."""
    weights = rules.weigh(labels).detach().cpu()
    found = [leaf.shape[axis] for leaf in tree_leaves(batch) if isinstance(leaf, Tensor) and leaf.dim() > axis]
    if not found or any(size != len(weights) for size in found):
        raise ValueError(
            f"there are {len(weights)} labels, but the tensors of the batch have sizes {found} on axis {axis}; give "
            "one label for each example, or pass the axis of examples as batch_dim"
        )
    copy_, regions = copied(model, rules.regions)
    start = CheckSetup(copy_, regions, levels, batch, axis, len(weights), loss or squared_distance)
    setting = in_double(start)
    device = next((leaf.device for leaf in tree_leaves(batch) if isinstance(leaf, Tensor)), None)
    generator = torch.Generator().manual_seed(0)
    drawn = torch.randn(weights.shape, generator=generator, dtype=torch.float64)
    drawn[torch.rand(weights.shape, generator=generator) < 0.3] = 0.0
    scale = loss_scale(setting)
    return max(_error(setting, route, values.double().to(device), scale) for values in (weights, drawn))


def copied(model: nn.Module, regions: Regions) -> tuple[nn.Module, Regions]:
    """Copy a model and the regions of it or of one of its submodules."""
    memo: dict[int, Any] = {}
    try:
        return copy.deepcopy(model, memo), copy.deepcopy(regions, memo)
    except (RuntimeError, TypeError) as error:
        raise ValueError(
            f"the model cannot be copied ({str(error).splitlines()[0][:80]}); check it before the first forward pass"
        ) from error


def squared_distance(output: Any) -> Tensor:
    """Sum the squared distances of all outputs of all examples from one random point."""
    total = torch.zeros((), dtype=torch.float64)
    for leaf in tree_leaves(output):
        if isinstance(leaf, Tensor) and leaf.is_floating_point():
            generator = torch.Generator().manual_seed(leaf.shape[-1] if leaf.dim() else 0)
            point = torch.randn(leaf.shape[-1:], generator=generator, dtype=torch.float64)
            total = total.to(leaf.device) + (leaf - point.to(leaf)).square().sum()
    return total


def in_double(setting: CheckSetup) -> CheckSetup:
    """Convert model and batch to float64, without dropout, if the model then runs; else only remove dropout."""
    for module in setting.model.modules():
        if isinstance(module, DROPOUTS):
            module.p = 0.0
        if isinstance(module, nn.MultiheadAttention):
            module.dropout = 0.0
    double = setting.fresh()
    batch = tree_map_only(Tensor, lambda x: x.detach().double() if x.is_floating_point() else x, setting.batch)
    double = double._replace(model=double.model.double(), batch=batch)
    try:
        with torch.random.fork_rng():
            call(double.fresh().model, batch)
    except RuntimeError:  # a dtype is fixed inside the model
        return setting
    return double


def call(model: nn.Module, batch: Any) -> Any:
    """Call a model with a tensor, a tuple of positional or a dictionary of keyword arguments."""
    if isinstance(batch, Mapping):
        return model(**batch)
    return model(*batch) if isinstance(batch, tuple) else model(batch)


def example(setting: CheckSetup, i: int) -> Any:
    """Return one example as a batch of size 1."""

    def narrowed(x: Tensor) -> Tensor:
        return x.narrow(setting.axis, i, 1) if x.dim() > setting.axis else x

    return tree_map_only(Tensor, narrowed, setting.batch)


def loss_scale(setting: CheckSetup) -> float:
    """Return the factor of single examples' losses whose sum is the batch loss: 1 for a sum, 1/B for a mean.

    Raises:
        ValueError: the model is random, does not run on one example, or its loss is neither a sum nor a mean.
    """
    with torch.random.fork_rng():
        before = torch.get_rng_state()
        whole = float(setting.loss(call(setting.fresh().model, setting.batch)).detach())
        if not torch.equal(before, torch.get_rng_state()):
            raise ValueError("the model draws random numbers other than dropout's; call model.eval() first")
        try:
            single = [example(setting, i) for i in range(setting.size)]
            parts = [float(setting.loss(call(setting.fresh().model, one)).detach()) for one in single]
        except (RuntimeError, ValueError, IndexError) as error:
            raise ValueError(
                f"the model does not run on a single example ({str(error).splitlines()[0]}); "
                "call .eval() on layers that mix examples, such as a batch norm"
            ) from error
    tolerance = max(1e-6, _tolerance(setting)) * sum(map(abs, parts))
    for factor in (1.0, 1 / setting.size):
        if abs(whole - factor * sum(parts)) <= tolerance:
            return factor
    raise ValueError(
        f"the loss of the batch is {whole:.6g}, but those of single examples sum to {sum(parts):.6g}: the model mixes "
        "examples or keeps state between them, so they have no separate gradients; call .eval() on a batch norm"
    )


def _tolerance(setting: CheckSetup) -> float:
    return TOLERANCE.get(next(setting.model.parameters()).dtype, 1e-3)


def _error(setting: CheckSetup, route: Route, weights: Tensor, scale: float) -> float:
    """Return the largest relative error of a parameter. Raises RuntimeError if it exceeds the tolerance."""
    plain, routed, state = setting.fresh(), setting.fresh(), setting.fresh()
    unrouted = gradients(plain)
    router = route(routed.model, Rules.direct(routed.regions))
    with router(weights):
        found = gradients(routed)
    call(state.model, state.batch)
    _compare_state(state.model, routed.model)
    expected = {name: torch.zeros_like(gradient) for name, gradient in unrouted.items()}
    for i in range(setting.size):
        for name, gradient in _single(setting, route, weights, i).items():
            expected[name] += scale * gradient
    errors = {name: _relative(found[name], expected[name], unrouted[name]) for name in expected}
    worst = max(errors, key=lambda name: errors[name])
    if not errors[worst] <= _tolerance(setting):
        raise RuntimeError(
            f"the routed gradient of {worst!r} differs from the sum over single examples by {errors[worst]:.2g} of its "
            "norm; examples change their order or axis inside the model, or a parameter is used without calling its "
            "layer: declare batch_dim, or route another layer (see docs/routing.md)"
        )
    return errors[worst]


def _relative(found: Tensor, expected: Tensor, unrouted: Tensor) -> float:
    size = max(float(expected.norm()), float(unrouted.norm()))
    return float((found - expected).norm()) / size if size else float(found.norm())


def gradients(setting: CheckSetup) -> Gradients:
    """Return the gradients of the loss of a setting's batch."""
    named = {name: p for name, p in setting.model.named_parameters() if p.requires_grad}
    with torch.random.fork_rng(), torch.enable_grad():
        loss = setting.loss(call(setting.model, setting.batch))
        found = torch.autograd.grad(loss, list(named.values()), allow_unused=True)
    return {
        n: torch.zeros_like(p) if g is None else g.to_dense() for (n, p), g in zip(named.items(), found, strict=True)
    }


def _single(setting: CheckSetup, route: Route, weights: Tensor, i: int) -> Gradients:
    """Return the routed gradients of one example, whose weights are numbers that multiply its whole gradients.

    Weights of tokens, (B, T, regions), are not one number for each example; there the router weights a batch of size 1.
    """
    one = setting.fresh()._replace(batch=example(setting, i))
    if weights.dim() > 2:
        with route(one.model, Rules.direct(one.regions))(weights[i : i + 1]):
            return gradients(one)
    numbers = dict(zip(one.regions, weights[i].tolist(), strict=True))
    with ExitStack() as stack:
        for name, region in one.regions.items():
            for output in region.outputs if setting.levels[name] in ("activation", "forward_ablated") else ():
                stack.callback(_weight_output(output, numbers[name], setting.levels[name]).remove)
        found = gradients(one)
    names = {id(p): name for name, p in one.model.named_parameters()}
    for name, region in one.regions.items():
        for piece in _weighted_pieces(region, setting.levels[name]):
            if (parameter := names[id(piece.parameter)]) in found:
                piece.of(found[parameter]).mul_(numbers[name])
    return found


def _weighted_pieces(region: Region, level: str) -> Iterator[Any]:
    skipped = {"rows": True, "columns": False}.get(level)
    return (piece for piece in region.pieces if level != "activation" and piece.reads is not skipped)


def _weight_output(output: Output, number: float, level: str) -> Any:
    """Weight the gradient of a module's output, or set it to 0, by one number for all of it."""

    def weighted(x: Tensor) -> Tensor:
        if not is_differentiable(x):
            return x
        units = output.units
        chosen: Tensor | bool = True
        if units is not None:
            chosen = unit_mask((units.start, units.stop, units.step), x, output.axis)
        if level == "forward_ablated":
            return torch.where(torch.as_tensor(chosen, device=x.device), x * 0 if number == 0 else x, x)
        scaled = scale_grad(x, torch.tensor(number, dtype=x.dtype, device=x.device))
        return torch.where(torch.as_tensor(chosen, device=x.device), scaled, x)

    return output.module.register_forward_hook(lambda module, args, result: tree_map_only(Tensor, weighted, result))


def _compare_state(plain: nn.Module, routed: nn.Module) -> None:
    after = dict(routed.named_buffers())
    for name, buffer in plain.named_buffers():
        if not torch.equal(buffer, after[name]):
            raise RuntimeError(f"routing changes how the forward pass updates the buffer {name!r}; leave its layer out")
