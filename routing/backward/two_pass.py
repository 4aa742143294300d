"""A layer evaluated twice: once for what lies upstream of it, and once, cut off from that, for its parameters.

This weighs the parameter gradients of any layer that treats examples separately, at the price of one more forward pass
for each set of weights. The second pass draws the random numbers of the first.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils._pytree import tree_map_only

from routing.backward.parameter_weights import ParameterWeight, weights_of
from routing.backward.primitives import scale_grads
from routing.selectors import SECOND


class _Join(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(upstream: Tensor, twin: Tensor) -> Tensor:
        return twin.view_as(twin)

    @staticmethod
    def setup_context(ctx, inputs, output) -> None:
        pass

    @staticmethod
    def backward(ctx, grad):
        return grad, grad


def join(upstream: Tensor, twin: Tensor) -> Tensor:
    """Return `twin`; the gradient flows back into both.

    With upstream = f(x, theta.detach()) and twin = f(x.detach(), theta) it is the gradient of f(x, theta), in two parts
    that can be weighed apart.
    """
    return _Join.apply(upstream, twin)


class _StopGrad(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        return x.view_as(x)

    @staticmethod
    def setup_context(ctx, inputs, output) -> None:
        pass

    @staticmethod
    def backward(ctx, grad):
        return None


def stop_grad(x: Tensor) -> Tensor:
    """Return `x`, cut from the graph but still one that requires a gradient: kernels are chosen by that."""
    return _StopGrad.apply(x)


Forward = Callable[..., Any]
Parameters = Mapping[str, Tensor]


def evaluated_twice(
    evaluate: Callable[..., Any], parameters: Parameters, holds: Sequence[ParameterWeight], axis: int, *args, **kwargs
) -> Any:
    """The value of `evaluate(parameters, *args, **kwargs)`, each sample's gradient in the parameters weighed.

    Args:
        evaluate: treats examples separately.
        parameters: by name; those that nobody holds have an ordinary gradient.
        axis: of the units in what it returns.
    """
    by_name: dict[str, list[ParameterWeight]] = {}
    for hold in holds:
        by_name.setdefault(hold.name, []).append(hold)
    cut = {name: parameter.detach() if name in by_name else parameter for name, parameter in parameters.items()}
    value = evaluate(cut, *args, **kwargs)  # for what is upstream
    args, kwargs = _detached((args, kwargs))
    for names in _alike(by_name):
        own = {name: parameter if name in names else stop_grad(parameter) for name, parameter in parameters.items()}
        value = _joined(value, evaluate(own, *args, **kwargs), by_name[names[0]], axis)
    return value


@torch.compiler.disable
def forward_twice(layer: nn.Module, holds: Sequence[ParameterWeight], forward: Forward, *args, **kwargs) -> Any:
    """Any layer that treats examples separately. Evaluations draw the same random numbers.

    Raises:
        ValueError: the layer normalises over the batch.
    """
    if layer.training and any(isinstance(child, _BatchNorm) for child in layer.modules()):
        raise ValueError(
            f"{holds[0].piece.name!r} is normalised over the batch, where no example has a gradient of its own; "
            "call .eval() on that layer, or leave its parameters out of the region"
        )
    random = _random_state(layer)
    start = iter([nullcontext()])  # the first evaluation draws as it comes

    def evaluate(parameters: Parameters, *args, **kwargs) -> Any:
        with next(start, None) or _replayed(random), _replaced(layer, parameters):
            return forward(*args, **kwargs)

    parameters = dict(layer.named_parameters(remove_duplicate=False))
    axis = 1 if isinstance(layer, SECOND) else -1
    return evaluated_twice(evaluate, parameters, holds, axis, *args, **kwargs)


def _detached(arguments: Any) -> Any:
    """The same arguments, cut from the graph; what was one tensor stays one, for attention looks at that."""
    cut: dict[int, Tensor] = {}
    return tree_map_only(Tensor, lambda x: cut.setdefault(id(x), x.detach()), arguments)


def _alike(by_name: Mapping[str, Sequence[ParameterWeight]]) -> list[list[str]]:
    """Names of parameters, those of equal weights together."""
    groups: dict[tuple, list[str]] = {}
    for name, holds in by_name.items():
        groups.setdefault(tuple(hold.key for hold in holds), []).append(name)
    return list(groups.values())


def _joined(value: Any, twin: Any, holds: Sequence[ParameterWeight], axis: int) -> Any:
    if isinstance(value, tuple):
        return tuple(_joined(one, other, holds, axis) for one, other in zip(value, twin, strict=True))
    if value is None:
        return None
    return join(value, scale_grads(twin, weights_of(holds, value.shape, axis), axis))


@contextmanager
def _replaced(layer: nn.Module, parameters: Mapping[str, Tensor]) -> Iterator[None]:
    """While the context lasts the layer computes with these in place of its parameters."""
    names = [name.rpartition(".") for name in parameters]
    places: list[tuple[dict[str, Any], str]] = [(layer.get_submodule(path)._parameters, own) for path, _, own in names]
    before = [slots[own] for slots, own in places]
    for (slots, own), parameter in zip(places, parameters.values(), strict=True):
        slots[own] = parameter
    try:
        yield
    finally:
        for (slots, own), parameter in zip(places, before, strict=True):
            slots[own] = parameter


def _random_state(layer: nn.Module) -> list[tuple[torch.device, Tensor]]:
    """Where the random numbers of each device of the layer stand."""
    devices = {torch.device("cpu"), *(p.device for p in layer.parameters() if p.device.type == "cuda")}
    return [(d, torch.cuda.get_rng_state(d) if d.type == "cuda" else torch.get_rng_state()) for d in devices]


@contextmanager
def _replayed(random: list[tuple[torch.device, Tensor]]) -> Iterator[None]:
    """While the context lasts random numbers are those that followed `random`."""
    with torch.random.fork_rng([device for device, _ in random if device.type == "cuda"]):
        for device, state in random:
            torch.cuda.set_rng_state(state, device) if device.type == "cuda" else torch.set_rng_state(state)
        yield
