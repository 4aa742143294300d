"""Evaluate a layer twice: once for the gradient of its inputs, and once with detached inputs for its parameters.

This weights the parameter gradients of any layer that treats examples separately. It costs one more forward pass of the
layer for each distinct set of weights. The second pass replays the random numbers of the first.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils._pytree import tree_map_only

from routing.backward.parameter_weights import ParameterWeight, weights_of
from routing.backward.primitives import scale_grads
from routing.selectors import SECOND

BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)


class _Join(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(upstream: Tensor, detached: Tensor) -> Tensor:
        return detached.view_as(detached)

    @staticmethod
    def setup_context(ctx, inputs, output) -> None:
        pass

    @staticmethod
    def backward(ctx, grad):
        return grad, grad


def join(upstream: Tensor, detached: Tensor) -> Tensor:
    """Return `detached`, and pass the gradient to both arguments.

    With upstream = f(x, theta.detach()) and detached = f(x.detach(), theta) the sum is the gradient of f(x, theta), in
    two parts that can be weighted separately.
    """
    return _Join.apply(upstream, detached)


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
    """Return `x` without gradient flow but still requiring a gradient, because torch selects kernels by that."""
    return _StopGrad.apply(x)


Forward = Callable[..., Any]
Parameters = Mapping[str, Tensor]


def evaluated_twice(
    evaluate: Callable[..., Any], parameters: Parameters, weights: Sequence[ParameterWeight], axis: int, *args, **kwargs
) -> Any:
    """Compute `evaluate(parameters, *args, **kwargs)` with weighted per-example gradients of the parameters.

    Args:
        evaluate: a function that treats examples separately.
        parameters: name -> parameter; those without weights have their ordinary gradient.
        weights: the weights of parameters.
        axis: the axis of units in the result.
        *args: positional arguments of `evaluate`.
        **kwargs: keyword arguments of `evaluate`.

    Returns:
        The result of `evaluate`.
    """
    by_name: dict[str, list[ParameterWeight]] = {}
    for weight in weights:
        by_name.setdefault(weight.name, []).append(weight)
    upstream = {name: parameter.detach() if name in by_name else parameter for name, parameter in parameters.items()}
    value = evaluate(upstream, *args, **kwargs)
    args, kwargs = _detached((args, kwargs))
    for names in _groups_of_equal_weights(by_name):
        own = {name: parameter if name in names else stop_grad(parameter) for name, parameter in parameters.items()}
        value = _joined(value, evaluate(own, *args, **kwargs), by_name[names[0]], axis)
    return value


@torch.compiler.disable
def forward_twice(layer: nn.Module, weights: Sequence[ParameterWeight], forward: Forward, *args, **kwargs) -> Any:
    """Evaluate any layer that treats examples separately twice, with the same random numbers.

    Raises:
        ValueError: the layer contains a batch norm in training mode.
    """
    if layer.training and any(isinstance(child, BATCH_NORMS) for child in layer.modules()):
        raise ValueError(
            f"{weights[0].piece.name!r} is normalised over the batch, so examples have no separate gradients; "
            "call .eval() on that layer, or leave its parameters out of the region"
        )
    random, call = _random_state(layer), _ForwardOf(layer, forward)
    first = iter([nullcontext()])  # the first evaluation draws from the current state

    def evaluate(parameters: Parameters, *args, **kwargs) -> Any:
        named = {f"layer.{name}": parameter for name, parameter in parameters.items()}
        with next(first, None) or _replayed(random):
            return functional_call(call, named, args, kwargs, tie_weights=False)

    parameters = dict(layer.named_parameters(remove_duplicate=False))
    axis = 1 if isinstance(layer, SECOND) else -1
    return evaluated_twice(evaluate, parameters, weights, axis, *args, **kwargs)


def _detached(arguments: Any) -> Any:
    """Detach all tensors. One tensor in two arguments stays one, because attention tests `query is key`."""
    detached: dict[int, Tensor] = {}
    return tree_map_only(Tensor, lambda x: detached.setdefault(id(x), x.detach()), arguments)


def _groups_of_equal_weights(by_name: Mapping[str, Sequence[ParameterWeight]]) -> list[list[str]]:
    """Group the names of parameters by their weights."""
    groups: dict[tuple, list[str]] = {}
    for name, weights in by_name.items():
        groups.setdefault(tuple(weight.key for weight in weights), []).append(name)
    return list(groups.values())


def _joined(upstream: Any, detached: Any, weights: Sequence[ParameterWeight], axis: int) -> Any:
    if isinstance(upstream, tuple):
        return tuple(_joined(one, other, weights, axis) for one, other in zip(upstream, detached, strict=True))
    if upstream is None:
        return None
    return join(upstream, scale_grads(detached, weights_of(weights, upstream.shape, axis), axis))


class _ForwardOf(nn.Module):
    """Calls a layer's forward without its hooks, so that `functional_call` does not call the patched layer itself."""

    def __init__(self, layer: nn.Module, forward: Forward) -> None:
        super().__init__()
        self.layer, self.call = layer, forward

    def forward(self, *args, **kwargs) -> Any:
        return self.call(*args, **kwargs)


def _random_state(layer: nn.Module) -> list[tuple[torch.device, Tensor]]:
    """Return the generator state of each device of the layer."""
    devices = {torch.device("cpu"), *(p.device for p in layer.parameters() if p.device.type == "cuda")}
    return [(d, torch.cuda.get_rng_state(d) if d.type == "cuda" else torch.get_rng_state()) for d in devices]


@contextmanager
def _replayed(random: list[tuple[torch.device, Tensor]]) -> Iterator[None]:
    """Replay the random numbers that follow the given generator states within the context."""
    with torch.random.fork_rng([device for device, _ in random if device.type == "cuda"]):
        for device, state in random:
            torch.cuda.set_rng_state(state, device) if device.type == "cuda" else torch.set_rng_state(state)
        yield
