"""When two runs are one: the same settings, and the same code and libraries wherever these can move a number."""

import hashlib
from collections.abc import Iterator
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from flows.config import TrainConfig

CODE = ("agents", "envs", "routing")
LIBRARIES = ("torch", "numpy", "gymnasium", "stable-baselines3")
CACHE_KEY = "cache_key"


def code_digest(env: str, trainer: str) -> str:
    """A digest of what runs in the environment `env` depend on besides their settings.

    Args:
        env: Gymnasium id; a module in front of it is part of what counts.
        trainer: "module:function" that trains.
    """
    modules = {*CODE, trainer.partition(":")[0], *env.rpartition(":")[:1]} - {""}
    digest = hashlib.sha256(trainer.encode())
    for module in sorted(modules):
        for file in _sources(module):
            digest.update(f"{module} {file.name} {hashlib.sha256(file.read_bytes()).hexdigest()}\n".encode())
    for library in LIBRARIES:
        digest.update(f"{library} {version(library)}\n".encode())
    return digest.hexdigest()


def run_key(config: TrainConfig, around: str) -> str:
    """Equal for runs that must come to the same numbers."""
    return hashlib.sha256(f"{around} {config.model_dump_json()}".encode()).hexdigest()


def _sources(module: str) -> Iterator[Path]:
    """A module's file, or every file of a package."""
    spec = find_spec(module)
    for folder in (spec and spec.submodule_search_locations) or ():
        yield from sorted(Path(folder).rglob("*.py"))
    if spec and spec.origin and not spec.submodule_search_locations:
        yield Path(spec.origin)
