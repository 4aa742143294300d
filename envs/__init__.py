"""Partially observed worlds and their exact evaluation; importing this package registers every world."""

import importlib
import pkgutil
from typing import Any

from envs import worlds
from envs.enumeration import compile_world
from envs.pomdp import POMDP
from envs.registration import register
from envs.tables import NotEnumerable, Tables

__all__ = [
    "POMDP",
    "NotEnumerable",
    "Tables",
    "certificate",
    "certify",
    "check_vector_env",
    "compile_world",
    "exact",
    "memoryless",
    "register",
]

for _module in pkgutil.iter_modules(worlds.__path__):
    importlib.import_module(f"envs.worlds.{_module.name}")


LAZY = {  # imported on first use, since they need scipy or are rarely called
    "certificate": "envs.certificate",
    "certify": "envs.certificate.certify:certify",
    "check_vector_env": "envs.checks.vector_env:check_vector_env",
    "exact": "envs.exact",
    "memoryless": "envs.exact.memoryless",
}


def __getattr__(name: str) -> Any:
    """Imports the names in `LAZY` on first use."""
    if name not in LAZY:
        raise AttributeError(f"module 'envs' has no attribute {name!r}")
    return pkgutil.resolve_name(LAZY[name])


def _without_oversight_prob(make_vec: Any) -> Any:
    """Temporary: `gymnasium.make_vec` for our worlds; drops oversight_prob for those that do not take it."""
    import inspect

    import gymnasium
    from gymnasium.envs.registration import load_env_creator

    def patched(name: Any, *args: Any, **arguments: Any) -> Any:
        if str(name).rpartition(":")[2].startswith("keyhole/") and "oversight_prob" in arguments:
            entry = gymnasium.spec(str(name).rpartition(":")[2]).vector_entry_point
            creator = load_env_creator(entry) if isinstance(entry, str) else entry
            if "oversight_prob" not in inspect.signature(creator).parameters:
                del arguments["oversight_prob"]
        return make_vec(name, *args, **arguments)

    return patched


import gymnasium  # noqa: E402

gymnasium.make_vec = _without_oversight_prob(gymnasium.make_vec)
