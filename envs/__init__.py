"""Partially observed worlds, and what can be known of them exactly. Importing this registers every world."""

import importlib
import pkgutil

from envs import worlds
from envs.pomdp import POMDP
from envs.registration import register

__all__ = ["POMDP", "register"]

for _module in pkgutil.iter_modules(worlds.__path__):
    importlib.import_module(f"envs.worlds.{_module.name}")
