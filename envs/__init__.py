"""Partially observed worlds, and what can be known of them exactly. Importing this registers every world."""

import importlib
import pkgutil
from typing import Any

from envs import worlds
from envs.compiled import NotEnumerable, Tables, compile_world
from envs.pomdp import POMDP
from envs.registration import register

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


def __getattr__(name: str) -> Any:
    """What needs scipy, or is called once, is imported when it is first asked for."""
    if name == "check_vector_env":
        return importlib.import_module("envs.checker").check_vector_env
    if name == "certify":
        return importlib.import_module("envs.certificate").certify
    if name in __all__:
        return importlib.import_module(f"envs.{name}")
    raise AttributeError(f"module 'envs' has no attribute {name!r}")
