"""Partially observed worlds and their exact evaluation; importing this package registers every world."""

import importlib
import pkgutil
from typing import Any

from envs import worlds
from envs.audits import Audits
from envs.enumeration import compile_world
from envs.foreign.declaration import OverseenStep
from envs.foreign.overseen import overseen
from envs.frames import Frames
from envs.limited import LimitedOverseer, hidden_labels
from envs.making import make_vec, takes_oversight_prob
from envs.pomdp import POMDP
from envs.queried import Queried
from envs.registration import register
from envs.tables import NotEnumerable, Tables
from envs.world import World

__all__ = [
    "POMDP",
    "Audits",
    "Frames",
    "LimitedOverseer",
    "NotEnumerable",
    "OverseenStep",
    "Queried",
    "Tables",
    "World",
    "certificate",
    "certify",
    "check_vector_env",
    "compile_world",
    "exact",
    "hidden_labels",
    "make_vec",
    "memoryless",
    "overseen",
    "positivity",
    "register",
    "takes_oversight_prob",
]

for _module in pkgutil.iter_modules(worlds.__path__):
    importlib.import_module(f"envs.worlds.{_module.name}")


LAZY = {  # imported on first use, since they need scipy or are rarely called
    "certificate": "envs.certificate",
    "certify": "envs.certificate.certify:certify",
    "check_vector_env": "envs.checks.vector_env:check_vector_env",
    "exact": "envs.exact",
    "memoryless": "envs.exact.memoryless",
    "positivity": "envs.positivity",
}


def __getattr__(name: str) -> Any:
    """Imports the names in `LAZY` on first use."""
    if name not in LAZY:
        raise AttributeError(f"module 'envs' has no attribute {name!r}")
    return pkgutil.resolve_name(LAZY[name])
