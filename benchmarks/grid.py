"""Cost against the side of the grid, the 5 x 5 one being 1

A world with more squares has more states, and so more observations: 2592 states at 3 x 3, 460 992 at 7 x 7. Compiling
and exact evaluation go through all of them. An update goes through those that its rollout met, of
which there are never more than steps in it.
"""

from collections.abc import Iterator

import gymnasium

import agents
import envs
from benchmarks.harness.figures import Figure
from benchmarks.harness.paired import Effort, Way, paired
from benchmarks.learners import WORLD, trained
from envs.enumeration import cached_tables

UNIT = "times the cost in CPU time at 5 x 5"
BASE = 5


def measure(effort: Effort) -> Iterator[Figure]:
    """Compile, evaluate and update, each at every size."""
    sizes = (3, 4, 5, 6, 7) if effort.whole else (3, 4, 5)
    for series, way in {"compile": compiling, "evaluate exactly": evaluating, "update": updating}.items():
        base = way(BASE)
        for size in sizes:
            ratio = paired(way(size), base, min(effort.rounds, 3), 0)
            yield Figure.of_cost(f"{series}, {size} x {size}", ratio, series=series, x=size)


def compiling(size: int) -> Way:
    """The tables of the world, made afresh."""

    def way() -> float:
        cached_tables.cache_clear()
        envs.compile_world(gymnasium.make_vec(WORLD, num_envs=1, size=size))
        return 1

    return way


def evaluating(size: int, **world: int) -> Way:
    """One exact evaluation of an untrained policy."""
    evaluate, _ = agents.make_evaluator(WORLD, 0, size=size, **world)
    policy = agents.build(agents.make_vec_env(WORLD, 1, size=size, **world), "naive", 0, algorithm="ppo").policy

    def way() -> float:
        evaluate(policy)
        return 1

    return way


def updating(size: int, **world: int) -> Way:
    """A rollout and its update by `reinforce`."""
    env = agents.make_vec_env(WORLD, 512, size=size, **world)
    update = trained(agents.build(env, "gradient_routing", 0, n_epochs=4))

    def way() -> float:
        update()
        return 1

    return way
