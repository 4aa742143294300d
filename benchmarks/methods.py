"""Two hundred updates of each method.

Every registered method whose parts find what they need in the diamond grid trains there by `reinforce`, with networks
of width 64, bf16 products and one epoch on 512 copies x 8 steps. All learners are built first. They then take turns of
some updates each until every learner has made two hundred. A ratio is that of one turn; the absolute number is the
CPU-seconds of all turns. Compiling the tables and building the learners is not timed.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from benchmarks.harness.figures import Figure
from benchmarks.harness.paired import Effort, Spread, Workload, cpu_seconds
from benchmarks.learners import WORLD, training_workload
from flows.config import TrainConfig
from flows.errors import UserError
from flows.sweep.method_checks import check_requirements
from routing import METHODS

UNIT = "CPU time relative to gradient_routing"
BASE = "gradient_routing"
SETTINGS: Mapping[str, Any] = {"precision": "bf16", "n_envs": 512, "n_steps": 8, "n_epochs": 1, "learning_rate": 0.008}
UPDATES = 200


def measure(effort: Effort) -> Iterator[Figure]:
    """Measure all methods; a quick trial has two methods and few updates."""
    updates, turns = (UPDATES, 20) if effort.full else (8, 2)
    selected = [BASE, *(name for name in METHODS if name != BASE and trains(name))] if effort.full else [BASE, "naive"]
    workloads = {name: training_workload("reinforce", name, **SETTINGS) for name in selected}
    table = [{name: cpu_cost(work, updates // turns) for name, work in workloads.items()} for _ in range(turns)]
    for name in workloads:
        ratio = Spread.of(turn[name] / turn[BASE] for turn in table)
        yield Figure(name, ratio, turns, None, sum(turn[name] for turn in table), f"CPU-s of {updates} updates")


def trains(method: str) -> bool:
    """Whether the parts of a method find what they need in the world; some need verdicts of one kind only."""
    try:
        check_requirements(TrainConfig.model_validate({"env": WORLD, "method": method}))
    except UserError:
        return False
    return True


def cpu_cost(workload: Workload, repetitions: int) -> float:
    """CPU-seconds of repeated calls."""
    start = cpu_seconds()
    for _ in range(repetitions):
        workload()
    return cpu_seconds() - start
