"""Products of float32 matrices by oneDNN, which fills a processor's widest registers whoever made it.

PyTorch leaves them to MKL, which does so on Intel's alone: on AMD's it takes twice as long.
"""

from typing import Any

import torch
from torch.nn import functional
from torch.overrides import TorchFunctionMode

LEAST = 16  # outputs: fewer are not worth the way there and back


class OneDNN(TorchFunctionMode):
    """While the context lasts, linear layers on the CPU go to oneDNN; the numbers differ by rounding."""

    def __torch_function__(self, function: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        if function is functional.linear and _gains(*args[:2]):
            x, *layer = args
            return function(x.to_mkldnn(), *layer).to_dense()
        return function(*args, **(kwargs or {}))


def _gains(x: torch.Tensor, weight: torch.Tensor) -> bool:
    """float32 alone: bfloat16 goes to oneDNN by itself."""
    plain = x.device.type == "cpu" and x.layout is torch.strided and x.dtype is torch.float32
    return (
        plain and len(weight) >= LEAST and torch.backends.mkldnn.is_available() and not torch.is_autocast_enabled("cpu")
    )
