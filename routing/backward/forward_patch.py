"""Replace the forward of a layer instance while a router is active, and restore it afterwards.

Forward hooks are not used: a compiled model does not recompile when hooks are added or removed and would run unrouted.
It does recompile when `forward` is replaced on the instance.
"""

from collections.abc import Callable
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

from torch import nn

from routing.backward.layers import routed_forward
from routing.backward.parameter_weights import ParameterWeight

Release = Callable[[], None]
OutputHook = Callable[[Any], Any]


class _Patch(NamedTuple):
    weights: list[ParameterWeight]
    output_hooks: list[OutputHook]
    restore: Release


_PATCHES: WeakKeyDictionary[nn.Module, _Patch] = WeakKeyDictionary()


def weight_parameter(layer: nn.Module, weight: ParameterWeight) -> Release:
    """Weight a parameter's gradient in each forward pass of the layer. Returns a function that removes the weight."""
    return _add(layer, _patch(layer).weights, weight)


def hook_output(layer: nn.Module, hook: OutputHook) -> Release:
    """Apply `hook` to the result of each forward pass of the layer. Returns a function that removes the hook."""
    return _add(layer, _patch(layer).output_hooks, hook)


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
    output_hooks: list[OutputHook] = []
    original = layer.forward

    def forward(*args, **kwargs):
        result = routed_forward(layer, weights, original, *args, **kwargs)
        for hook in output_hooks:
            result = hook(result)
        return result

    def restore() -> None:
        if layer.__dict__.get("forward") is forward:  # otherwise user code has wrapped this forward
            del layer.forward
            if getattr(original, "__func__", None) is not type(layer).forward:
                layer.forward = original

    layer.forward = forward
    return _Patch(weights, output_hooks, restore)
