"""What a training process does for a sweep: it trains and says what it sees; the parent keeps the books."""

import faulthandler
import gc
import os
import socket
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

from flows.config import TrainConfig

TRAIN = "flows.running.train:run"  # trains: takes a TrainConfig and a recorder
Send = Callable[..., None]


class Forwarder:
    """A recorder whose words go to the parent process; files go straight to the run's folder."""

    def __init__(self, folder: Path, say: Send) -> None:
        self.folder, self._say = folder, say

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        self._say("metrics", step, {key: float(value) for key, value in values.items()})

    def progress(self, done: int, value: float) -> None:
        self._say("progress", int(done), float(value))

    def tags(self, values: Mapping[str, str]) -> None:
        self._say("tags", {key: str(value) for key, value in values.items()})


def run_training(function: str, config: TrainConfig, folder: Path, say: Send) -> None:
    """Runs `function` ("module:name") on `config`; what it prints is kept in the run's folder."""
    if not folder.is_dir():
        raise FileNotFoundError(
            f"{socket.gethostname()} has no folder {folder}; workers must share the store's file system"
        )
    with redirect_output(folder / "output.txt"):
        resolve_name(function)(config, Forwarder(folder, say))
    gc.collect()  # a learner refers to itself, and Python counts objects, not their megabytes


@contextmanager
def redirect_output(path: Path) -> Iterator[None]:
    """This process's output, its libraries' and a crash's included, goes to a file; no file if there is none."""
    with path.open("a") as file, ExitStack() as undo:
        for stream in (sys.stdout, sys.stderr):
            saved = os.dup(stream.fileno())
            undo.callback(os.close, saved)
            undo.callback(os.dup2, saved, stream.fileno())
            undo.callback(stream.flush)
            os.dup2(file.fileno(), stream.fileno())
        faulthandler.enable()
        yield
    if not path.stat().st_size:
        path.unlink()


def compute_certificate(config: TrainConfig, say: Send) -> dict[str, Any]:
    """What an overseer can enforce in this run's world, as plain data; nothing for one too large to enumerate."""
    import gymnasium

    import envs
    from envs.certificate.certify import certify

    world = gymnasium.make_vec(config.env, num_envs=1, oversight_prob=config.oversight, **config.env_kwargs)
    try:
        return certify(world).to_dict()
    except envs.NotEnumerable:
        return {}
    finally:
        world.close()
