"""Checks and isolation that let a layer run twice in one forward pass without changing its result or state."""

import copy
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx
from torch.utils._pytree import tree_leaves

MODULE_ATTRIBUTES = {*nn.Module().__dict__, "forward", "__deepcopy__"}  # the rest of a module's __dict__ is user state
COPIED = (list, dict, set)

Attributes = list[tuple[nn.Module, dict[str, Any]]]


def copied_attributes(layer: nn.Module) -> Attributes:
    """Return the attributes of all modules of a layer, with tensors and containers copied."""
    return [(module, {name: _copied(value) for name, value in _own(module)}) for module in layer.modules()]


@contextmanager
def attributes_of(saved: Attributes) -> Iterator[None]:
    """Set saved attributes within a context, then restore the current ones."""
    current = [(module, dict(_own(module))) for module, _ in saved]
    _set([(module, {name: _copied(value) for name, value in values.items()}) for module, values in saved])
    try:
        yield
    finally:
        _set(current)


def cloned_buffers(layer: nn.Module) -> dict[str, Tensor]:
    """Clone the buffers of a layer; a buffer with two names stays one tensor."""
    clones: dict[int, Tensor] = {}
    named = layer.named_buffers(remove_duplicate=False)
    return {name: clones.setdefault(id(buffer), buffer.clone()) for name, buffer in named}


def _own(module: nn.Module) -> Iterable[tuple[str, Any]]:
    return [(name, value) for name, value in module.__dict__.items() if name not in MODULE_ATTRIBUTES]


def _copied(value: Any) -> Any:
    if type(value) in COPIED:
        return copy.copy(value)
    return value.clone() if type(value) is Tensor and not value.requires_grad else value


def _set(attributes: Attributes) -> None:
    for module, values in attributes:
        for name in [name for name, _ in _own(module) if name not in values]:
            del module.__dict__[name]
        module.__dict__.update(values)


def versions(arguments: Any) -> list[int]:
    """Return the version counter of each tensor; it increases with each in-place operation."""
    return [leaf._version for leaf in tree_leaves(arguments) if isinstance(leaf, Tensor)]


def check_leaves(value: Any, allowed: Iterable[Tensor], stop: str, what: str) -> None:
    """Raise RuntimeError if the graph of a value reaches a leaf that is not one of the allowed parameters.

    Args:
        value: the result of an evaluation with detached arguments and parameters.
        allowed: the parameters that keep their gradient.
        stop: the name of graph nodes behind which gradients do not flow.
        what: the name of the layer in the error.
    """
    expected = {id(parameter) for parameter in allowed}
    stack = [leaf.grad_fn for leaf in tree_leaves(value) if isinstance(leaf, Tensor) and leaf.grad_fn is not None]
    seen = set(stack)
    while stack:
        node = stack.pop()
        if node.name() == stop:
            continue
        if (leaf := getattr(node, "variable", None)) is not None and id(leaf) not in expected:
            raise RuntimeError(
                f"the layer of {what!r} reads a tensor of shape {tuple(leaf.shape)} that is neither an argument nor an "
                "attribute parameter of it, so its gradient would count twice; pass it as an argument, or route the "
                "layer's activation"
            )
        after = {function for function, _ in node.next_functions if function is not None} - seen
        seen |= after
        stack.extend(after)


def check_not_recomputed(layer: nn.Module) -> None:
    """Raise RuntimeError if a custom autograd function, such as reentrant checkpointing, is running this forward pass.

    Its backward evaluates the layer again, possibly after the router's context has ended.
    """
    if torch.compiler.is_compiling() or torch.is_grad_enabled():
        return
    frame = sys._getframe(1)
    while frame is not None:
        names = frame.f_code.co_varnames
        if names and isinstance(frame.f_locals.get(names[0]), FunctionCtx):
            raise RuntimeError(
                f"a {type(layer).__name__} is evaluated inside a custom autograd function, which recomputes it in its "
                "backward pass without routing; call torch.utils.checkpoint.checkpoint(..., use_reentrant=False)"
            )
        frame = frame.f_back  # type: ignore[assignment]
