"""Simulates a second device on machines without one: its tensors report device "meta" and compute on the CPU.

As on a real device, an operation on tensors of both devices fails; only tensors without dimensions and the indices of a
tensor may be on the CPU.
"""

from contextlib import nullcontext
from importlib import import_module

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

from agents.tabular.device_rollout import DeviceRollout

OTHER = torch.device("meta")
MOVES = ("_to_copy", "copy_")
TAKES_CPU = ("index.", "index_put")


class OtherTensor(torch.Tensor):
    """A tensor on the simulated device; `inner` is the CPU tensor that holds its values."""

    is_meta = False  # it has values

    @staticmethod
    def __new__(cls, inner):
        shape = {"strides": inner.stride(), "storage_offset": inner.storage_offset()}
        tensor = torch.Tensor._make_wrapper_subclass(cls, inner.size(), dtype=inner.dtype, device=OTHER, **shape)
        tensor.inner = inner
        return tensor

    def __init__(self, inner):
        pass

    def tolist(self):
        return self.inner.tolist()

    @classmethod
    def __torch_dispatch__(cls, operation, types, args=(), kwargs=None):
        return run_operation(operation, args, kwargs or {})


class OtherDevice(TorchDispatchMode):
    """Context in which operations for device "meta" run on the simulated device."""

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        return run_operation(operation, args, kwargs or {})


def run_operation(operation, args, kwargs):
    """Run an operation on the inner tensors; the result is on the simulated device if an operand or the request is."""
    name, flat = operation.__name__, tree_flatten((args, kwargs))[0]
    others = [x for x in flat if isinstance(x, OtherTensor)]
    cpu = [x for x in flat if isinstance(x, torch.Tensor) and not isinstance(x, OtherTensor) and x.dim()]
    if others and cpu and not name.startswith(MOVES + TAKES_CPU):
        raise RuntimeError(f"{name}: expected all tensors to be on the same device")
    device, on_other = kwargs.get("device"), bool(others)
    if device is not None:
        on_other, kwargs = device.type == OTHER.type, {**kwargs, "device": torch.device("cpu")}
    result = operation(*tree_map(unwrapped, args), **tree_map(unwrapped, kwargs))
    if name.startswith("copy_"):
        return args[0]
    known = {id(x.inner): x for x in others}  # an operation in place returns its operand
    return tree_map(lambda x: wrapped(x, known), result) if on_other else result


def wrapped(x, known):
    """A tensor as one on the simulated device."""
    if not isinstance(x, torch.Tensor):
        return x
    return known[id(x)] if id(x) in known else OtherTensor(x)


def unwrapped(x):
    return x.inner if isinstance(x, OtherTensor) else x


@pytest.fixture
def other_device(monkeypatch):
    """The simulated device, with what torch lacks for "meta": generators, autocast and fused optimisers."""
    monkeypatch.setattr(
        DeviceRollout, "_device_generator", lambda rollout: torch.Generator().manual_seed(rollout.seed())
    )
    autocast = torch.autocast
    monkeypatch.setattr(
        torch, "autocast", lambda kind, *a, **k: nullcontext() if kind == "meta" else autocast(kind, *a, **k)
    )
    monkeypatch.setattr(import_module("torch.optim.adam"), "_device_dtype_check_for_fused", lambda *a, **k: None)
    torch.__future__.set_swap_module_params_on_conversion(True)  # moving keeps the parameters of the optimiser
    try:
        with OtherDevice():
            yield OTHER
    finally:
        torch.__future__.set_swap_module_params_on_conversion(False)
