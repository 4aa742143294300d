"""Another device, for machines that have none: its tensors lie in the processor's memory and say that they do not.

An operation on tensors here and there fails, as on a real device; only numbers (tensors without dimensions) and the
indices of a tensor may come from here. The disguise is torch's device "meta", which no operation reaches.
"""

from contextlib import nullcontext
from importlib import import_module

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

from agents.tabular.device_rollout import DeviceRollout

THERE = torch.device("meta")
MOVES = ("_to_copy", "copy_")
TAKES_OURS = ("index.", "index_put")


class There(torch.Tensor):
    """A tensor there; `ours` is the one behind it."""

    is_meta = False  # it has numbers

    @staticmethod
    def __new__(cls, ours):
        shape = {"strides": ours.stride(), "storage_offset": ours.storage_offset()}
        made = torch.Tensor._make_wrapper_subclass(cls, ours.size(), dtype=ours.dtype, device=THERE, **shape)
        made.ours = ours
        return made

    def __init__(self, ours):
        pass

    def tolist(self):
        return self.ours.tolist()

    @classmethod
    def __torch_dispatch__(cls, operation, types, args=(), kwargs=None):
        return carried_out(operation, args, kwargs or {})


class Elsewhere(TorchDispatchMode):
    """While it lasts, what is asked of device "meta" happens there."""

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        return carried_out(operation, args, kwargs or {})


def carried_out(operation, args, kwargs):
    """The operation, done here; its result is there if it was asked for there, or its tensors were."""
    name, flat = operation.__name__, tree_flatten((args, kwargs))[0]
    theirs = [x for x in flat if isinstance(x, There)]
    ours = [x for x in flat if isinstance(x, torch.Tensor) and not isinstance(x, There) and x.dim()]
    if theirs and ours and not name.startswith(MOVES + TAKES_OURS):
        raise RuntimeError(f"{name}: expected all tensors to be on the same device")
    asked, there = kwargs.get("device"), bool(theirs)
    if asked is not None:
        there, kwargs = asked.type == THERE.type, {**kwargs, "device": torch.device("cpu")}
    result = operation(*tree_map(behind, args), **tree_map(behind, kwargs))
    if name.startswith("copy_"):
        return args[0]
    known = {id(x.ours): x for x in theirs}  # what works in place gives its own tensor back
    return tree_map(lambda x: disguised(x, known), result) if there else result


def disguised(x, known):
    """A tensor as one there, if it is not one already."""
    if not isinstance(x, torch.Tensor):
        return x
    return known[id(x)] if id(x) in known else There(x)


def behind(x):
    return x.ours if isinstance(x, There) else x


@pytest.fixture
def elsewhere(monkeypatch):
    """The device, with what torch has no "meta" of: generators, autocast, optimisers of one kernel."""
    monkeypatch.setattr(DeviceRollout, "_chance", lambda walk: torch.Generator().manual_seed(walk.seed()))
    autocast = torch.autocast
    monkeypatch.setattr(
        torch, "autocast", lambda kind, *a, **k: nullcontext() if kind == "meta" else autocast(kind, *a, **k)
    )
    monkeypatch.setattr(import_module("torch.optim.adam"), "_device_dtype_check_for_fused", lambda *a, **k: None)
    torch.__future__.set_swap_module_params_on_conversion(True)  # moved parameters stay those of the optimiser
    try:
        with Elsewhere():
            yield THERE
    finally:
        torch.__future__.set_swap_module_params_on_conversion(False)
