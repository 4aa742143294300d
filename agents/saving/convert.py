"""Converts an agent file of format 1 to the current format, in a child process with bounded memory.

Format 1 stored the weights as PyTorch's own archive in the archive. PyTorch's loader for tensors only executes no code
from it, but such a file can expand to any size and can use all that the loader implements. Only this module reads one.
"""

import io
import os
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

import torch

from agents.saving import archive, spaces
from agents.saving.agent_file import described_policy, network_data
from agents.saving.archive import BadAgentError, escaped, unreadable
from agents.saving.memory_limit import limited_memory
from agents.saving.weights import DTYPES, check_tensors, encode_tensors

MEMORY = 2 * 2**30  # bytes that the child process may allocate after its imports
SECONDS = 300.0
KEPT = ".v1"  # suffix of the old file after a conversion in place
REFUSED = 3  # exit code of the child process when its output is the reason
NO_MEMORY = "allocate memory"  # in the RuntimeError of PyTorch's allocator


def convert_file(old: Path, new: Path | None = None, memory: int = MEMORY) -> Path:
    """Convert an agent file of format 1. The new file is written atomically.

    Args:
        old: the file of format 1.
        new: the file to write. None converts in place: the old file is kept with the suffix ".v1".
        memory: bytes that reading the file may allocate.

    Returns:
        The path of the new file.

    Raises:
        BadAgentError: the old file is damaged, malicious, or not of format 1.
        FileExistsError: the new file, or the one that would keep the old, exists.
        OSError: a file cannot be read or written.
    """
    kept = old.with_name(old.name + KEPT)
    taken = kept if new is None else new
    if os.path.lexists(taken):
        raise FileExistsError(f"{taken} exists; remove it or choose another name")
    target = old if new is None else new
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.") as folder:
        fresh = Path(folder) / target.name
        _run_child(old, fresh, memory)
        if new is None:
            os.link(old, kept)
        os.replace(fresh, target)
    return target


def _run_child(old: Path, fresh: Path, memory: int) -> None:
    """Run `main` in a child process. It finds modules where this process does, and no others."""
    modules = os.pathsep.join(filter(None, sys.path))
    old.stat()  # raises the OSError of a file that does not exist, before the imports of the child process
    try:
        child = subprocess.run(
            [sys.executable, "-P", "-m", "agents.saving.convert", str(old), str(fresh), str(memory)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            env={**os.environ, "PYTHONPATH": modules, "OMP_NUM_THREADS": "1"},
            timeout=SECONDS,
        )
    except subprocess.TimeoutExpired:
        raise unreadable(old, f"reading it takes longer than {SECONDS:g} s") from None
    if child.returncode == REFUSED:
        raise BadAgentError(escaped(child.stdout.decode(errors="replace").strip()))
    if child.returncode != 0 or not fresh.exists():
        raise unreadable(old, f"reading it ended the process that read it (exit code {child.returncode})")


def main(old: Path, new: Path, memory: int) -> None:
    """Convert a file in this process; prints the reason and exits with `REFUSED` if it is refused."""
    try:
        with limited_memory(memory):
            _rewrite(old, new)
    except (BadAgentError, OSError) as error:
        reason = str(error)
    except Exception as error:  # a malicious file can raise anything
        if _is_out_of_memory(error):
            reason = str(unreadable(old, f"reading it needs more than {memory // 2**20} MiB of memory"))
        else:
            reason = str(unreadable(old, f"{type(error).__name__}: {error}"))
    else:
        return
    print(reason)
    sys.exit(REFUSED)


def _is_out_of_memory(error: Exception) -> bool:
    """Whether an exception says that an allocation failed; the interpreter reports some by SystemError."""
    return isinstance(error, MemoryError | SystemError) or NO_MEMORY in str(error)


def _rewrite(old: Path, new: Path) -> None:
    manifest, content = archive.read_archive(old, archive.OLD)
    _, policy = described_policy(old, manifest)
    tensors = _old_tensors(old, content)
    found = {name: (DTYPES.get(value.dtype), list(value.shape)) for name, value in tensors.items()}
    try:
        check_tensors(found, policy.state_dict())
    except ValueError as error:
        raise unreadable(old, f"{archive.OLD.weights} does not fit the network in the manifest: {error}") from None
    converted = {
        "network": network_data(policy),
        "observation_space": spaces.to_data(policy.observation_space),
        "action_space": spaces.to_data(policy.action_space),
    }
    archive.write_archive(new, {**manifest, **converted}, encode_tensors(tensors))


def _old_tensors(path: Path, content: bytes) -> dict[str, torch.Tensor]:
    """Tensors by name, read by PyTorch's loader for tensors only."""
    with warnings.catch_warnings(action="ignore"):  # about other pickles, which are refused
        tensors = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    if not isinstance(tensors, dict) or not all(isinstance(name, str) for name in tensors):
        raise unreadable(path, f"{archive.OLD.weights} is not a dictionary of tensors by name")
    if not all(map(_is_dense, tensors.values())):
        raise unreadable(path, f"{archive.OLD.weights} contains values that are not dense tensors")
    return tensors


def _is_dense(value: Any) -> bool:
    """Whether a value is a tensor with memory for its whole shape."""
    return (
        type(value) is torch.Tensor
        and value.layout is torch.strided
        and value.device.type == "cpu"
        and value.is_contiguous()
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
