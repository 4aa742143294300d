"""Evaluate a layer twice: once for the gradient of its inputs, and once with detached inputs for its parameters.

This weights the parameter gradients of any layer that treats examples separately. It costs one more forward pass of the
layer for each distinct set of weights. The second pass starts from the state of the first (random numbers, buffers,
attributes) and leaves no trace of its own. Second-order gradients through such a layer are rejected, because neither
pass contains the dependence of one part of the gradient on the other.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils._pytree import tree_flatten, tree_leaves, tree_map_only, tree_unflatten

from routing.backward.parameter_weights import ParameterWeight, batch_first, weights_of
from routing.backward.primitives import is_differentiable, scale_grads
from routing.backward.side_effects import attributes_of, check_leaves, cloned_buffers, copied_attributes, versions
from routing.selectors import BATCH_NORMS, CHANNELS_SECOND


class _RejectSecondOrder(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(grad: Tensor, anchor: Tensor) -> Tensor:
        return grad.view_as(grad)

    @staticmethod
    def setup_context(ctx, inputs, output) -> None:
        pass

    @staticmethod
    def backward(ctx, grad):
        raise RuntimeError(
            "second-order gradients through a layer that is routed by evaluating it twice (a norm, attention or custom "
            "layer) are not supported; route its activation, or leave it out of the region"
        )


class _Join(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(upstream: Tensor, detached: Tensor, fresh: bool) -> Tensor:
        return detached.detach() if fresh else detached.view_as(detached)

    @staticmethod
    def setup_context(ctx, inputs, output) -> None:
        pass

    @staticmethod
    def backward(ctx, grad):
        if torch.is_grad_enabled():  # the gradient itself is differentiable: create_graph=True
            grad = _RejectSecondOrder.apply(grad, torch.zeros((), requires_grad=True))
        return grad, grad, None


def join(upstream: Tensor, detached: Tensor, fresh: bool = False) -> Tensor:
    """Return `detached`, and pass the gradient to both arguments.

    With upstream = f(x, theta.detach()) and detached = f(x.detach(), theta) the sum is the gradient of f(x, theta), in
    two parts that can be weighted separately. The next layer can change the result in place only if it is
    `fresh`, which means that nothing else holds its memory.
    """
    return _Join.apply(upstream, detached, fresh)


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
_excluded: Callable[..., Any] | None = None  # `_forward_twice` outside of compiled graphs


def evaluated_twice(
    evaluate: Callable[..., Any],
    parameters: Parameters,
    weights: Sequence[ParameterWeight],
    axis: int,
    *args,
    batch_first_after: int | None = None,
    fresh: bool = False,
    **kwargs,
) -> Any:
    """Compute `evaluate(parameters, *args, **kwargs)` with weighted per-example gradients of the parameters.

    Args:
        evaluate: a function that treats examples separately.
        parameters: name -> parameter; those without weights have their ordinary gradient.
        weights: the weights of parameters.
        axis: the axis of units in the result.
        *args: positional arguments of `evaluate`.
        batch_first_after: the number of result tensors with the declared batch axis, before others with axis 0.
        fresh: the result of `evaluate` is new memory that nothing else holds.
        **kwargs: keyword arguments of `evaluate`.

    Returns:
        The result of `evaluate`.

    Raises:
        ValueError: the labels do not match the result, or the result contains anything but tensors.
    """
    by_name: dict[str, list[ParameterWeight]] = {}
    for weight in weights:
        by_name.setdefault(weight.name, []).append(weight)
    upstream = {name: parameter.detach() if name in by_name else parameter for name, parameter in parameters.items()}
    value = evaluate(upstream, *args, **kwargs)
    args, kwargs = _detached((args, kwargs))
    for names in _groups_of_equal_weights(by_name):
        own = {name: parameter if name in names else stop_grad(parameter) for name, parameter in parameters.items()}
        value = _joined(value, evaluate(own, *args, **kwargs), by_name[names[0]], axis, batch_first_after, fresh)
    return value


def exclude_from_graphs() -> None:
    """Have torch.compile leave `forward_twice` out of its graphs.

    Called before the first layer is evaluated twice, not on import: it imports torch's compiler, which takes as long as
    the rest of torch.
    """
    global _excluded
    _excluded = _excluded or torch.compiler.disable(_forward_twice)


def forward_twice(layer: nn.Module, weights: Sequence[ParameterWeight], forward: Forward, *args, **kwargs) -> Any:
    """Evaluate any layer that treats examples separately twice, with the same random numbers and state.

    Raises:
        ValueError: the layer contains a batch norm in training mode, or its result contains anything but tensors.
        RuntimeError: the layer changes its input in place, or reads a tensor that is neither an argument nor a
            parameter.
    """
    assert _excluded is not None  # `weight_parameter` calls exclude_from_graphs
    return _excluded(layer, weights, forward, *args, **kwargs)


def _forward_twice(layer: nn.Module, weights: Sequence[ParameterWeight], forward: Forward, *args, **kwargs) -> Any:
    _check_supported(layer, weights[0].piece.name)
    evaluate = _Evaluation(layer, forward, weights[0].piece.name)
    parameters = dict(layer.named_parameters(remove_duplicate=False))
    axis = 1 if isinstance(layer, CHANNELS_SECOND) else -1
    first = 1 if isinstance(layer, nn.MultiheadAttention) else None  # its attention weights always have the batch first
    return evaluated_twice(evaluate, parameters, weights, axis, *args, batch_first_after=first, **kwargs)


def _check_supported(layer: nn.Module, path: str) -> None:
    if layer.training and any(isinstance(child, BATCH_NORMS) for child in layer.modules()):
        raise ValueError(
            f"{path!r} is normalised over the batch, so examples have no separate gradients; "
            "call .eval() on that layer, or leave its parameters out of the region"
        )


class _Evaluation:
    """Evaluates a layer with given parameters; evaluations after the first start from the state before the first."""

    def __init__(self, layer: nn.Module, forward: Forward, path: str) -> None:
        self.path, self.call = path, _ForwardOf(layer, forward)
        self.random, self.buffers = _random_state(layer), cloned_buffers(layer)
        self.attributes = copied_attributes(layer)
        self.first = True

    def __call__(self, parameters: Parameters, *args, **kwargs) -> Any:
        if self.first:
            self.first = False
            return self._result(parameters, args, kwargs)
        buffers = tree_map_only(Tensor, Tensor.clone, self.buffers)
        with _replayed(self.random), attributes_of(self.attributes):
            value = self._result({**parameters, **buffers}, args, kwargs)
        check_leaves(value, parameters.values(), _StopGrad.__name__ + "Backward", self.path)
        return value

    def _result(self, tensors: Parameters, args: tuple, kwargs: dict[str, Any]) -> Any:
        named = {f"layer.{name}": tensor for name, tensor in tensors.items()}
        before = versions((args, kwargs))
        value = functional_call(self.call, named, args, kwargs, tie_weights=False)
        if versions((args, kwargs)) != before:
            raise RuntimeError(
                f"the layer of {self.path!r} changes its input in place, so it cannot be evaluated twice; "
                "use the out-of-place operation"
            )
        return value


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


def _joined(
    upstream: Any,
    detached: Any,
    weights: Sequence[ParameterWeight],
    axis: int,
    batch_first_after: int | None,
    fresh: bool,
) -> Any:
    first, structure = tree_flatten(upstream)
    second = tree_leaves(detached)
    declared = len(first) if batch_first_after is None else batch_first_after
    leaves = [
        _joined_leaf(one, other, weights if i < declared else [batch_first(weight) for weight in weights], axis, fresh)
        for i, (one, other) in enumerate(zip(first, second, strict=True))
    ]
    return tree_unflatten(leaves, structure)


def _joined_leaf(upstream: Any, detached: Any, weights: Sequence[ParameterWeight], axis: int, fresh: bool) -> Any:
    if upstream is None or (isinstance(upstream, Tensor) and not is_differentiable(upstream)):
        return upstream
    if not isinstance(upstream, Tensor):
        raise ValueError(
            f"the layer of {weights[0].piece.name!r} returns a {type(upstream).__name__}; return tensors, or tuples, "
            "lists or dictionaries of tensors"
        )
    return join(upstream, scale_grads(detached, weights_of(weights, upstream.shape, axis), axis), fresh)


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
