"""Cost against the time limit of an episode, 32 steps being 1

Exact evaluation pushes the start distribution through every step of the limit. An update walks one whole
episode with each copy: a longer limit adds the steps of those that have met nothing yet.
"""

from collections.abc import Iterator

from benchmarks.grid import BASE, evaluating, updating
from benchmarks.harness.figures import Figure
from benchmarks.harness.paired import Effort, paired

UNIT = "times the cost in CPU time at 32 steps"
USUAL = 32


def measure(effort: Effort) -> Iterator[Figure]:
    """Evaluate and update, each at every limit."""
    limits = (8, 16, 32, 64, 128) if effort.whole else (8, 32, 128)
    for series, way in {"evaluate exactly": evaluating, "update": updating}.items():
        base = way(BASE, max_episode_steps=USUAL)
        for limit in limits:
            ratio = paired(way(BASE, max_episode_steps=limit), base, min(effort.rounds, 3), 0)
            yield Figure.of_cost(f"{series}, {limit} steps", ratio, series=series, x=limit)
