"""Snapshots and restores a learner in the middle of a run; a restored run continues bit for bit.

The state is taken between two rollouts. Its file is written atomically (temporary file, fsync, rename), is prefixed
with its SHA-256, and can be read by its owner only. It is read as tensors and numbers, never as code.
"""

import hashlib
import io
import logging
import os
import random
import time
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from agents.learners.ppo import RoutedPPO
from envs.snapshot import SnapshotUnsupported, require_snapshots

State = dict[str, Any]
ARRAY = "an array"  # marks a tensor that was a numpy array
DIGEST = hashlib.sha256().digest_size
SAVE_SECONDS = 60.0  # the state is saved this often between checkpoints
log = logging.getLogger(__name__)


class Snapshotable(Protocol):
    """An object whose state can be snapshot and restored as plain data."""

    def snapshot(self) -> State: ...
    def restore(self, state: State) -> None: ...


class StateFile:
    """The file with the state of one run; it exists while the run is unfinished.

    Args:
        path: of the file.
        run: text that identifies the run; the state of a run with another text is not used.
        watcher: evaluates the run; its state is saved with the learner's.

    Attributes:
        state: the state in the file; None if there is none, so the run starts from the beginning.
        damage: why the file cannot be used; "" if it can, or if there is none.
    """

    def __init__(self, path: Path, run: str, watcher: Snapshotable) -> None:
        self.path, self.run, self.watcher = path, run, watcher
        self.state: State | None = None
        self.damage = ""
        self._temporary = path.with_suffix(".new")
        self._saved = time.monotonic()
        self._enabled = True
        try:
            self.state = self._read()
        except Exception as error:  # a damaged file can raise anything
            self.damage = (
                f"{path.name} is not usable ({type(error).__name__}: {error}); the run starts from the beginning"
            )
            log.warning(self.damage)

    def restore(self, model: RoutedPPO, callback: Snapshotable) -> None:
        """Restore the learner, its callback and the watcher from the state in the file, if there is one."""
        if self.state is None:
            return
        restore_learner(model, self.state["learner"])
        callback.restore(self.state["callback"])
        self.watcher.restore(self.state["watcher"])

    @property
    def due(self) -> bool:
        """Whether `SAVE_SECONDS` have passed since the last save."""
        return time.monotonic() - self._saved > SAVE_SECONDS

    def save(self, model: RoutedPPO, callback: Snapshotable) -> None:
        """Save the current state. If the environment has no snapshot or the disk fails, log it and continue without."""
        if not self._enabled:
            return
        self._saved = time.monotonic()
        try:
            learner = snapshot_learner(model)
            self._write({"learner": learner, "callback": callback.snapshot(), "watcher": self.watcher.snapshot()})
        except SnapshotUnsupported as reason:
            self._enabled = False
            log.warning(
                "the state of the run is not saved, so an interrupted run starts from the beginning: %s", reason
            )
        except OSError as error:
            log.warning("cannot save the state of the run: %s", error)

    def remove(self) -> None:
        """Delete the file, and a temporary file that a killed process left. Called when the run is finished."""
        self.path.unlink(missing_ok=True)
        self._temporary.unlink(missing_ok=True)

    def _read(self) -> State | None:
        if not self.path.exists():
            return None
        content = self.path.read_bytes()
        if hashlib.sha256(content[DIGEST:]).digest() != content[:DIGEST]:
            raise ValueError("its hash does not match")
        state = unpack(torch.load(io.BytesIO(content[DIGEST:]), map_location="cpu", weights_only=True))
        if state["of"] != self.run:
            raise ValueError("it belongs to a run with other settings")
        return state

    def _write(self, state: State) -> None:
        content = io.BytesIO()
        torch.save(pack({"of": self.run, **state}), content)
        try:
            self._temporary.unlink(missing_ok=True)  # of a killed process, with its mode
            with open(self._temporary, "wb", opener=_open_private) as file:
                file.write(hashlib.sha256(content.getbuffer()).digest())
                file.write(content.getbuffer())
                file.flush()
                os.fsync(file.fileno())
            self._temporary.replace(self.path)
        finally:
            self._temporary.unlink(missing_ok=True)


def _open_private(path: str, flags: int) -> int:
    """Create a file that only its owner can read and write, whatever the umask."""
    descriptor = os.open(path, flags | os.O_EXCL, 0o600)
    os.fchmod(descriptor, 0o600)
    return descriptor


def snapshot_learner(model: RoutedPPO) -> State:
    """Return the state of learner, environment, method and random generators as plain data.

    Raises:
        SnapshotUnsupported: the environment, the method or a limit of the overseer has no snapshot.
    """
    limits = {name: require_snapshots(limit).snapshot() for name, limit in model.overseer_limits.items()}
    method = {kind: require_snapshots(learning).snapshot() for kind, learning in model.treat.learning.items()}
    return {
        "policy": model.policy.state_dict(),
        "optimizer": model.policy.optimizer.state_dict(),
        "counters": {name: getattr(model, name) for name in COUNTERS},
        "labels_used": model.labels_used,
        "episodes": list(model.ep_info_buffer or ()),
        "observations": model._last_obs,
        "episode_starts": model._last_episode_starts,
        "logged": dict(model.logger.name_to_value),
        "method": method,
        "limits": limits,
        "world": model.world_snapshot(),
        "memory": model.memory_snapshot(),
        "acting": None if model.coins is None else model.coins.snapshot(),
        "chance": rng_state(),
    }


COUNTERS = ("num_timesteps", "_n_updates", "_episode_num", "_current_progress_remaining")


def restore_learner(model: RoutedPPO, state: State) -> None:
    """Restore the state that `snapshot_learner` returned.

    Args:
        model: a learner built with the same arguments; it is about to learn.
        state: the state.
    """
    model.policy.load_state_dict(state["policy"])
    model.policy.optimizer.load_state_dict(state["optimizer"])
    for name, value in state["counters"].items():
        setattr(model, name, value)
    model.labels_used = state["labels_used"]
    model.ep_info_buffer = deque(state["episodes"], maxlen=model._stats_window_size)
    model._last_obs, model._last_episode_starts = state["observations"], state["episode_starts"]
    model.logger.name_to_value.update(state["logged"])
    for kind, learning in model.treat.learning.items():
        require_snapshots(learning).restore(state["method"][kind])
    for name, limit in model.overseer_limits.items():
        require_snapshots(limit).restore(state["limits"][name])
    model.world_restore(state["world"])
    model.memory_restore(state.get("memory"))  # files of earlier versions lack it
    if model.coins is not None:
        model.coins.restore(state["acting"])
    set_rng_state(state["chance"])


def rng_state() -> State:
    """Return the state of the global generators that Stable-Baselines3 draws from."""
    name, keys, *rest = np.random.get_state()  # noqa: NPY002
    return {"torch": torch.get_rng_state(), "numpy": [name, keys, *rest], "python": random.getstate()}


def set_rng_state(state: State) -> None:
    """Restore the state that `rng_state` returned."""
    torch.set_rng_state(state["torch"])
    np.random.set_state(tuple(state["numpy"]))  # noqa: NPY002
    version, internal, gauss = state["python"]
    random.setstate((version, tuple(internal), gauss))


def pack(value: Any) -> Any:
    """Convert to types that torch loads without running code: tensors, numbers, strings, lists and dictionaries."""
    if isinstance(value, np.ndarray):
        return {ARRAY: torch.from_numpy(value.copy())}
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Mapping):
        return {key: pack(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [pack(item) for item in value]
    return value


def unpack(value: Any) -> Any:
    """Invert `pack`, except that tuples become lists."""
    if isinstance(value, Mapping):
        if value.keys() == {ARRAY}:
            return value[ARRAY].numpy()
        return {key: unpack(item) for key, item in value.items()}
    return [unpack(item) for item in value] if isinstance(value, list) else value
