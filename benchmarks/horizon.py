"""Cost against the time limit of an episode, 32 steps being 1

Exact evaluation pushes the start distribution through every step of the limit. An update rolls out as many steps
whatever the limit is.
"""

from collections.abc import Iterator

from benchmarks.figures import Figure
from benchmarks.grid import BASE, evaluating, updating
from benchmarks.paired import Effort, in_turn

UNIT = "times the cost in CPU time at 32 steps"
USUAL = 32


def measure(effort: Effort) -> Iterator[Figure]:
    """Evaluate and update, each at every limit."""
    limits = (8, 16, 32, 64, 128) if effort.whole else (8, 32, 128)
    for series, way in {"evaluate exactly": evaluating, "update": updating}.items():
        ways = {limit: way(BASE, max_episode_steps=limit) for limit in limits}
        ratios = in_turn({str(limit): ways[limit] for limit in limits}, ways[USUAL], min(effort.rounds, 3), 0)
        for limit, ratio in zip(limits, ratios.values(), strict=True):
            yield Figure.of_cost(f"{series}, {limit} steps", ratio, series=series, x=limit)
