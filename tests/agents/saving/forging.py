"""Writes agent files that `agents.save` would not write: forged, damaged, and of format 1."""

import hashlib
import io
import json
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

MANIFEST, WEIGHTS, OLD_WEIGHTS = "manifest.json", "weights.safetensors", "weights.pt"


def pack(path: Path, content: Mapping[str, bytes]) -> None:
    """Write a zip file of stored members."""
    with zipfile.ZipFile(path, "w") as file:
        for name, data in content.items():
            file.writestr(zipfile.ZipInfo(name), data)


def members(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as file:
        return {name: file.read(name) for name in file.namelist()}


def manifest(path: Path) -> dict[str, Any]:
    return json.loads(members(path)[MANIFEST])


def forge(path: Path, weights: bytes | None = None, text: Callable[[str], str] = str, **entries: Any) -> None:
    """Replace entries of the manifest, its text, or the weights; the hash is that of the weights."""
    content = members(path)
    weights = content[WEIGHTS] if weights is None else weights
    entries = {"sha256": {WEIGHTS: hashlib.sha256(weights).hexdigest()}, **entries}
    changed = text(json.dumps({**json.loads(content[MANIFEST]), **entries}))
    pack(path, {MANIFEST: changed.encode(errors="surrogatepass"), WEIGHTS: weights})


def replaced(value: Any, keys: tuple, new: Any) -> Any:
    """A copy of nested lists and dictionaries with another value at a place."""
    if not keys:
        return new
    copied = list(value) if isinstance(value, list) else dict(value)
    copied[keys[0]] = replaced(copied[keys[0]], keys[1:], new)
    return copied


def split_weights(weights: bytes) -> tuple[dict[str, Any], bytes]:
    """Header and numbers of a safetensors file."""
    length = int.from_bytes(weights[:8], "little")
    return json.loads(weights[8 : 8 + length]), weights[8 + length :]


def join_weights(header: Any, numbers: bytes) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + numbers


def torch_archive(content: Any) -> bytes:
    file = io.BytesIO()
    torch.save(content, file)
    return file.getvalue()


def write_old(path: Path, current: Path, weights: Any = None, **entries: Any) -> None:
    """Write the agent of a file in format 1, as keyhole did before format 2.

    Args:
        path: of the file to write.
        current: a file in the current format.
        weights: bytes, or an object for `torch.save`, instead of the agent's tensors.
        **entries: replace entries of the manifest.
    """
    from agents import load

    tensors = load(current).policy.state_dict() if weights is None else weights
    content = tensors if isinstance(tensors, bytes) else torch_archive(dict(tensors))
    head = {**manifest(current), "version": 1, "sha256": {OLD_WEIGHTS: hashlib.sha256(content).hexdigest()}, **entries}
    pack(path, {MANIFEST: json.dumps(head, indent=2).encode(), OLD_WEIGHTS: content})
