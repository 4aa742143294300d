"""Jobs of a worker process. A job streams its metrics to the parent, the only process that writes to MLflow."""

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

from flows.config import NO_MEMORY, TrainConfig
from flows.user_code import module_digests

TRAIN = "flows.running.train:run"  # the training function: takes a TrainConfig and a recorder
STUDY = "flows.running.study:run"  # that of a study: takes a StudyRun and a recorder
MODULES = "modules"  # message of a finished run: the digests of the loaded user modules, by name
Send = Callable[..., None]


def trainer(kind: str) -> str:
    """The training function of a sweep or a study."""
    return STUDY if kind == "study" else TRAIN


class Forwarder:
    """A recorder that sends metrics and tags to the parent process; files go directly to the run's folder."""

    def __init__(self, folder: Path, send: Send) -> None:
        self.folder, self._send = folder, send

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        self._send("metrics", step, {key: float(value) for key, value in values.items()})

    def progress(self, done: int, value: float) -> None:
        self._send("progress", int(done), float(value))

    def tags(self, values: Mapping[str, str]) -> None:
        self._send("tags", {key: str(value) for key, value in values.items()})


def run_training(function: str, config: Any, folder: Path, send: Send) -> None:
    """Calls the training function `function` ("module:name"); its output is kept in the run's folder."""
    if not folder.is_dir():
        raise FileNotFoundError(
            f"{socket.gethostname()} has no folder {folder}; workers must share the store's file system"
        )
    with redirect_output(folder / "output.txt"):
        resolve_name(function)(config, Forwarder(folder, send))
    send(MODULES, module_digests())
    gc.collect()  # a learner is a reference cycle; the collector is triggered by object counts, not by memory


@contextmanager
def redirect_output(path: Path) -> Iterator[None]:
    """Redirects all output of this process, including a crash report, to a file; removes the file if it is empty."""
    with path.open("ab") as file, ExitStack() as undo:
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


def compute_certificate(config: TrainConfig, send: Send) -> dict[str, Any]:
    """Certifies the world of a run, whatever its agents remember; returns plain data, empty without tables."""
    import agents
    import envs
    from envs.certificate.certify import certify
    from flows.running.train import world_arguments

    without_memory = config.model_copy(update={"memory": NO_MEMORY})
    world = agents.make_world(config.env, 1, **world_arguments(without_memory))
    try:
        return certify(world).to_dict()
    except envs.NotEnumerable:
        return {}
    finally:
        world.close()
