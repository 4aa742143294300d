"""Computes a run's cache key: equal settings, code and library versions give equal keys."""

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
    """Returns a digest of the code and libraries that runs in the environment `env` depend on.

    Args:
        env: Gymnasium id; the module it names is part of the digest.
        trainer: The training function, as "module:function".
    """
    modules = {*CODE, trainer.partition(":")[0], *env.rpartition(":")[:1]} - {""}
    digest = hashlib.sha256(trainer.encode())
    for module in sorted(modules):
        for file in _sources(module):
            digest.update(f"{module} {file.name} {hashlib.sha256(file.read_bytes()).hexdigest()}\n".encode())
    for library in LIBRARIES:
        digest.update(f"{library} {version(library)}\n".encode())
    return digest.hexdigest()


def run_key(config: TrainConfig, digest: str) -> str:
    """Returns the cache key of a run: equal keys mean equal results. `digest` is that of `code_digest`."""
    return hashlib.sha256(f"{digest} {config.model_dump_json()}".encode()).hexdigest()


def _sources(module: str) -> Iterator[Path]:
    """Yields the file of a module, or every source file of a package."""
    spec = find_spec(module)
    for folder in (spec and spec.submodule_search_locations) or ():
        yield from sorted(Path(folder).rglob("*.py"))
    if spec and spec.origin and not spec.submodule_search_locations:
        yield Path(spec.origin)
