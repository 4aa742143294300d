"""Tensors as the bytes of a safetensors file, and back into a network whose shapes are known.

A safetensors file is a length (8 bytes), a JSON header with dtype, shape and place of each tensor, and the numbers.
The header must describe exactly the tensors of the network, so the file determines no size.
"""

from collections.abc import Mapping

import safetensors.torch
import torch
from safetensors import SafetensorError

from agents.saving.strict_json import parse_json

HEADER_LIMIT = 2**20  # bytes
LENGTH = 8  # bytes of the header's length
DTYPES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.bool: "BOOL",
}


def encode_tensors(tensors: Mapping[str, torch.Tensor]) -> bytes:
    """Encode tensors by name. Equal tensors give equal bytes."""
    return safetensors.torch.save({name: value.detach().cpu().contiguous() for name, value in tensors.items()})


def decode_tensors(content: bytes, network: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Decode the tensors of a network.

    Args:
        content: a safetensors file.
        network: tensors with the expected names, shapes and dtypes; they may be on device "meta".

    Raises:
        ValueError: the content is not a safetensors file of exactly these tensors.
    """
    length = int.from_bytes(content[:LENGTH], "little")
    if not 2 <= length <= min(HEADER_LIMIT, len(content) - LENGTH):
        raise ValueError(f"its header cannot have {length} bytes")
    header = parse_json(content[LENGTH : LENGTH + length])
    check_tensors({name: _described(entry) for name, entry in _entries(header)}, network)
    size = tensor_bytes(network)
    if len(content) != LENGTH + length + size:
        raise ValueError(f"it has {len(content) - LENGTH - length} bytes of numbers; the network has {size}")
    try:
        return safetensors.torch.load(content)
    except SafetensorError as error:
        raise ValueError(str(error)) from None


def tensor_bytes(tensors: Mapping[str, torch.Tensor]) -> int:
    """Bytes of the numbers of all tensors."""
    return sum(value.numel() * value.element_size() for value in tensors.values())


def check_tensors(found: Mapping[str, tuple[object, object]], network: Mapping[str, torch.Tensor]) -> None:
    """Raise ValueError unless names, dtypes and shapes are those of the network.

    Args:
        found: name -> (dtype in the words of safetensors, shape as a list).
        network: tensors by name.
    """
    expected = {name: (DTYPES[value.dtype], list(value.shape)) for name, value in network.items()}
    for name in (*expected, *found):
        if name not in found:
            raise ValueError(f"the tensor {name} is missing")
        if name not in expected:
            raise ValueError(f"the network has no tensor {name[:80]!r}")
        if found[name] != expected[name]:
            shown = " ".join(map(str, found[name]))[:80]
            raise ValueError(f"the tensor {name} is {shown}; in the network it is {' '.join(map(str, expected[name]))}")


def _entries(header: object) -> list[tuple[str, object]]:
    if not isinstance(header, dict):
        raise ValueError("its header is not a JSON object")
    return list(header.items())


def _described(entry: object) -> tuple[object, object]:
    """Dtype and shape of an entry of the header."""
    return (entry.get("dtype"), entry.get("shape")) if isinstance(entry, dict) else (None, None)
