"""Four hundred updates, by method

Every registered method trains by `reinforce` in the diamond grid, with networks 64 wide, bf16 products and one epoch
on 512 copies x 8 steps. The learners stand side by side, and each makes some updates in turn until all have made four
hundred; a ratio is that of one turn, and the CPU-seconds beside it are those of all turns. A world's tables and a
learner are made before.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from benchmarks.harness.figures import Figure
from benchmarks.harness.paired import Effort, Spread, Way, cpu_seconds
from benchmarks.learners import ours
from routing import METHODS

UNIT = "CPU time as a multiple of gradient_routing's"
BASE = "gradient_routing"
SETTINGS: Mapping[str, Any] = {"precision": "bf16", "n_envs": 512, "n_steps": 8, "n_epochs": 1, "learning_rate": 0.008}
UPDATES = 400


def measure(effort: Effort) -> Iterator[Figure]:
    """All methods; a trial has two of them, and makes few updates."""
    updates, turns = (UPDATES, 20) if effort.whole else (8, 2)
    names = [BASE, *(name for name in METHODS if name != BASE)]
    ways = {name: ours("reinforce", name, **SETTINGS) for name in (names if effort.whole else names[:2])}
    table = [{name: cost(way, updates // turns) for name, way in ways.items()} for _ in range(turns)]
    for name in ways:
        ratio = Spread.of(turn[name] / turn[BASE] for turn in table)
        yield Figure(name, ratio, turns, None, sum(turn[name] for turn in table), f"CPU-s of {updates} updates")


def cost(way: Way, updates: int) -> float:
    """CPU-seconds of some rollouts, each with its update."""
    began = cpu_seconds()
    for _ in range(updates):
        way()
    return cpu_seconds() - began
