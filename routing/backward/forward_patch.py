"""Replace the forward of a layer instance while a router is active, and restore it afterwards.

Forward hooks are not used: a compiled model does not recompile when hooks are added or removed and would run unrouted.
It does recompile when `forward` is replaced on the instance. The instance also gets a `__deepcopy__`, because a copy of
the replaced forward would compute with the original's parameters; a copy made inside the context is not routed.
"""

import copy
from collections.abc import Callable
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import torch
from torch import nn

from routing.backward.layers import routed_forward
from routing.backward.parameter_weights import ParameterWeight
from routing.backward.side_effects import check_not_recomputed
from routing.backward.two_pass import exclude_from_graphs

Release = Callable[[], None]
OutputHook = Callable[[Any, Any], Any]
"""Maps the layer's result and its arguments to a new result."""
InputHook = Callable[[Any], Any]
"""Maps the layer's arguments to new ones."""


class _Patch(NamedTuple):
    weights: list[ParameterWeight]
    output_hooks: list[tuple[InputHook | None, OutputHook]]
    restore: Release


_PATCHES: WeakKeyDictionary[nn.Module, _Patch] = WeakKeyDictionary()


def weight_parameter(layer: nn.Module, weight: ParameterWeight) -> Release:
    """Weight a parameter's gradient in each forward pass of the layer. Returns a function that removes the weight."""
    exclude_from_graphs()
    return _add(layer, _patch(layer).weights, weight)


def hook_output(layer: nn.Module, hook: OutputHook, prepare: InputHook | None = None) -> Release:
    """Apply hooks to arguments and result of each forward pass of the layer. Returns a function that removes them."""
    return _add(layer, _patch(layer).output_hooks, (prepare, hook))


def _patch(layer: nn.Module) -> _Patch:
    if layer not in _PATCHES:
        _PATCHES[layer] = _replace_forward(layer)
    return _PATCHES[layer]


def _add(layer: nn.Module, items: list[Any], item: Any) -> Release:
    items.append(item)

    def release() -> None:
        del items[next(i for i, other in enumerate(items) if other is item)]
        patch = _PATCHES[layer]
        if not patch.weights and not patch.output_hooks:
            _PATCHES.pop(layer).restore()

    return release


def _replace_forward(layer: nn.Module) -> _Patch:
    weights: list[ParameterWeight] = []
    output_hooks: list[tuple[InputHook | None, OutputHook]] = []
    original = layer.forward

    def forward(*args, **kwargs):
        if not torch.is_grad_enabled():
            check_not_recomputed(layer)
        for prepare, _ in output_hooks:
            if prepare is not None:
                args, kwargs = prepare((args, kwargs))
        result = routed_forward(layer, weights, original, *args, **kwargs)
        for _, hook in output_hooks:
            result = hook(result, (args, kwargs))
        return result

    def restore() -> None:
        layer.__dict__.pop("__deepcopy__", None)
        if layer.__dict__.get("forward") is forward:  # otherwise user code has wrapped this forward
            del layer.forward
            if getattr(original, "__func__", None) is not type(layer).forward:
                layer.forward = original

    def deepcopy(memo: dict[int, Any]) -> nn.Module:
        patched = layer.__dict__["forward"]
        restore()
        try:
            return copy.deepcopy(layer, memo)
        finally:
            layer.__dict__.update(forward=patched, __deepcopy__=deepcopy)

    layer.__dict__.update(forward=forward, __deepcopy__=deepcopy)
    return _Patch(weights, output_hooks, restore)
