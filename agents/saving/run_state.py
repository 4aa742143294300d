"""A learner in the middle of a run, as plain data: whoever puts it back goes on to the same numbers, bit for bit.

It is taken between two rollouts, where nothing is half done. A file of it is whole or is not there: it is written
beside its place and moved, and begins with a digest of the rest. It is read as tensors and numbers, never as code.
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
from routing import find

State = dict[str, Any]
ARRAY = "an array"  # marks a tensor that was one
DIGEST = hashlib.sha256().digest_size
SAVE_SECONDS = 60.0  # seconds between two states of a run whose checkpoints are farther apart
log = logging.getLogger(__name__)


class Snapshotable(Protocol):
    """What tells its state and takes it back."""

    def snapshot(self) -> State: ...
    def restore(self, state: State) -> None: ...


class StateFile:
    """The state of one run, in its folder while it lasts.

    Args:
        path: of the file.
        of: what the run is, word for word; the state of another one is not taken.
        watcher: who looks at the run, and is to go on with it.

    Attributes:
        state: what was found; None: nothing, and the run begins at its beginning.
        damage: why what was found cannot be used; "" if it can, or nothing was there.
    """

    def __init__(self, path: Path, of: str, watcher: Snapshotable) -> None:
        self.path, self.of, self.watcher = path, of, watcher
        self.state: State | None = None
        self.damage = ""
        self._beside = path.with_suffix(".new")
        self._saved = time.monotonic()
        self._works = True
        try:
            self.state = self._read()
        except Exception as error:  # whatever a damaged file makes of its reader
            self.damage = f"{path.name} is not usable ({type(error).__name__}: {error}); the run starts anew"
            log.warning(self.damage)

    def restore(self, model: RoutedPPO, callback: Snapshotable) -> None:
        """Put back what was found; nothing happens if there was nothing."""
        if self.state is None:
            return
        restore(model, self.state["learner"])
        callback.restore(self.state["callback"])
        self.watcher.restore(self.state["watcher"])

    @property
    def due(self) -> bool:
        """The last state is old."""
        return time.monotonic() - self._saved > SAVE_SECONDS

    def save(self, model: RoutedPPO, callback: Snapshotable) -> None:
        """Keep the state that the run is in now. A run goes on without if its world, or the disk, will not have it."""
        if not self._works:
            return
        self._saved = time.monotonic()
        try:
            learner = snapshot(model)
            self._write({"learner": learner, "callback": callback.snapshot(), "watcher": self.watcher.snapshot()})
        except SnapshotUnsupported as reason:
            self._works = False
            log.warning("an interrupted run starts anew, for %s", reason)
        except OSError as error:
            log.warning("cannot keep the state of the run: %s", error)

    def remove(self) -> None:
        """The run is at its end; a state that a killed process was writing goes, too."""
        self.path.unlink(missing_ok=True)
        self._beside.unlink(missing_ok=True)

    def _read(self) -> State | None:
        if not self.path.exists():
            return None
        content = self.path.read_bytes()
        if hashlib.sha256(content[DIGEST:]).digest() != content[:DIGEST]:
            raise ValueError("it is damaged")
        state = unpack(torch.load(io.BytesIO(content[DIGEST:]), map_location="cpu", weights_only=True))
        if state["of"] != self.of:
            raise ValueError("it is of a run with other settings")
        return state

    def _write(self, state: State) -> None:
        content = io.BytesIO()
        torch.save(pack({"of": self.of, **state}), content)
        try:
            with self._beside.open("wb") as file:
                file.write(hashlib.sha256(content.getbuffer()).digest())
                file.write(content.getbuffer())
                file.flush()
                os.fsync(file.fileno())
            self._beside.replace(self.path)
        finally:
            self._beside.unlink(missing_ok=True)


def snapshot(model: RoutedPPO) -> State:
    """All that the learner, its environment, its method and chance bring to the next rollout; raises NotKept."""
    method = {} if find(model.method).pure else require_snapshots(model.treat).snapshot()
    return {
        "policy": model.policy.state_dict(),
        "optimizer": model.policy.optimizer.state_dict(),
        "counters": {name: getattr(model, name) for name in COUNTERS},
        "labels_used": model.rollout_buffer.labels_used,
        "episodes": list(model.ep_info_buffer or ()),
        "observations": model._last_obs,
        "episode_starts": model._last_episode_starts,
        "logged": dict(model.logger.name_to_value),
        "method": method,
        "world": model.world_snapshot(),
        "chance": rng_state(),
    }


COUNTERS = ("num_timesteps", "_n_updates", "_episode_num", "_current_progress_remaining")


def restore(model: RoutedPPO, state: State) -> None:
    """Put back what `snapshot` told, into a learner that was made alike and is about to learn."""
    model.policy.load_state_dict(state["policy"])
    model.policy.optimizer.load_state_dict(state["optimizer"])
    for name, value in state["counters"].items():
        setattr(model, name, value)
    model.rollout_buffer.labels_used = state["labels_used"]
    model.ep_info_buffer = deque(state["episodes"], maxlen=model._stats_window_size)
    model._last_obs, model._last_episode_starts = state["observations"], state["episode_starts"]
    model.logger.name_to_value.update(state["logged"])
    if not find(model.method).pure:
        require_snapshots(model.treat).restore(state["method"])
    model.world_restore(state["world"])
    set_rng_state(state["chance"])


def rng_state() -> State:
    """The generators that Stable-Baselines3 shares with the whole process."""
    kind, keys, *rest = np.random.get_state()  # noqa: NPY002
    return {"torch": torch.get_rng_state(), "numpy": [kind, keys, *rest], "python": random.getstate()}


def set_rng_state(state: State) -> None:
    torch.set_rng_state(state["torch"])
    np.random.set_state(tuple(state["numpy"]))  # noqa: NPY002
    version, internal, gauss = state["python"]
    random.setstate((version, tuple(internal), gauss))


def pack(value: Any) -> Any:
    """The same in what torch reads back without running code: tensors, numbers, text, lists, dictionaries."""
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
    """The inverse of `packed`; tuples come back as lists."""
    if isinstance(value, Mapping):
        if value.keys() == {ARRAY}:
            return value[ARRAY].numpy()
        return {key: unpack(item) for key, item in value.items()}
    return [unpack(item) for item in value] if isinstance(value, list) else value
