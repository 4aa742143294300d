"""Lets regions take hold of a layer's forward pass, and gives it back as it was."""

from collections.abc import Callable
from typing import NamedTuple
from weakref import WeakKeyDictionary

from torch import nn

from routing.holds import Hold
from routing.layers import routed_forward

Release = Callable[[], None]


class _Held(NamedTuple):
    holds: list[Hold]
    restore: Release


_HELD: WeakKeyDictionary[nn.Module, _Held] = WeakKeyDictionary()


def attach(layer: nn.Module, hold: Hold) -> Release:
    """Weigh a parameter's gradient in each forward pass of the layer."""
    if layer not in _HELD:
        _HELD[layer] = _replace_forward(layer)
    _HELD[layer].holds.append(hold)

    def release() -> None:
        held = _HELD[layer]
        del held.holds[next(i for i, other in enumerate(held.holds) if other is hold)]
        if not held.holds:
            _HELD.pop(layer).restore()

    return release


def _replace_forward(layer: nn.Module) -> _Held:
    holds: list[Hold] = []
    original = layer.forward

    def forward(*args, **kwargs):
        return routed_forward(layer, holds, original, *args, **kwargs)

    def restore() -> None:
        if layer.__dict__.get("forward") is forward:
            del layer.forward
            if getattr(original, "__func__", None) is not type(layer).forward:
                layer.forward = original

    layer.forward = forward
    return _Held(holds, restore)
