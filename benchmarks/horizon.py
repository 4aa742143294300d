"""Cost by time limit of an episode, relative to 32 steps.

Exact evaluation propagates the start distribution through every step up to the limit. An update uses 512 copies x 32
steps at every limit: the limit changes only how often copies restart.
"""

from collections.abc import Iterator

from benchmarks.grid import BASE, exact_evaluation, single_update
from benchmarks.harness.figures import Figure
from benchmarks.harness.paired import Effort, measure_ratio

UNIT = "CPU time (32 steps = 1)"
DEFAULT_LIMIT = 32


def measure(effort: Effort) -> Iterator[Figure]:
    """Measure exact evaluation and update at each limit."""
    limits = (8, 16, 32, 64, 128) if effort.full else (8, 32, 128)
    for series, workload in {"evaluate exactly": exact_evaluation, "update": single_update}.items():
        base = workload(BASE, max_episode_steps=DEFAULT_LIMIT)
        for limit in limits:
            ratio = measure_ratio(workload(BASE, max_episode_steps=limit), base, min(effort.rounds, 3), 0)
            yield Figure.of_cost(f"{series}, {limit} steps", ratio, series=series, x=limit)
