"""Lets regions take hold of a layer's forward pass, and gives it back as it was.

The forward is replaced on the instance. Forward hooks would do for outputs, but a compiled model does not notice hooks
that come and go, and would go on unrouted; a replaced forward it notices.
"""

from collections.abc import Callable
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

from torch import nn

from routing.backward.layers import routed_forward
from routing.backward.parameter_weights import ParameterWeight

Release = Callable[[], None]
OutputHook = Callable[[Any], Any]


class _Held(NamedTuple):
    holds: list[ParameterWeight]
    acts: list[OutputHook]
    restore: Release


_HELD: WeakKeyDictionary[nn.Module, _Held] = WeakKeyDictionary()


def weight_parameter(layer: nn.Module, hold: ParameterWeight) -> Release:
    """Weigh a parameter's gradient in each forward pass of the layer; returns what ends it."""
    return _add(layer, _held(layer).holds, hold)


def hook_output(layer: nn.Module, act: OutputHook) -> Release:
    """Pass what each forward pass of the layer returns through `act`; returns what ends it."""
    return _add(layer, _held(layer).acts, act)


def _held(layer: nn.Module) -> _Held:
    if layer not in _HELD:
        _HELD[layer] = _replace_forward(layer)
    return _HELD[layer]


def _add(layer: nn.Module, items: list[Any], item: Any) -> Release:
    items.append(item)

    def release() -> None:
        del items[next(i for i, other in enumerate(items) if other is item)]
        held = _HELD[layer]
        if not held.holds and not held.acts:
            _HELD.pop(layer).restore()

    return release


def _replace_forward(layer: nn.Module) -> _Held:
    holds: list[ParameterWeight] = []
    acts: list[OutputHook] = []
    original = layer.forward

    def forward(*args, **kwargs):
        result = routed_forward(layer, holds, original, *args, **kwargs)
        for act in acts:
            result = act(result)
        return result

    def restore() -> None:
        if layer.__dict__.get("forward") is forward:  # else someone replaced it again, and calls this one
            del layer.forward
            if getattr(original, "__func__", None) is not type(layer).forward:
                layer.forward = original

    layer.forward = forward
    return _Held(holds, acts, restore)
