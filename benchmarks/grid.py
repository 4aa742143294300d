"""Cost by side of the grid, relative to 5 x 5.

A larger grid has more states and more distinct observations: 2592 states at 3 x 3, 460 992 at 7 x 7. Compilation and
exact evaluation process all of them. An update processes only the observations in its rollout, of which there are at
most as many as steps.
"""

from collections.abc import Iterator

import gymnasium

import agents
import envs
from benchmarks.harness.figures import Figure
from benchmarks.harness.paired import Effort, Workload, measure_ratio
from benchmarks.learners import WORLD, rollout_and_update
from envs.enumeration import cached_tables

UNIT = "CPU time (5 x 5 = 1)"
BASE = 5


def measure(effort: Effort) -> Iterator[Figure]:
    """Measure compilation, exact evaluation and update at each size."""
    sizes = (3, 4, 5, 6, 7) if effort.full else (3, 4, 5)
    workloads = {"compile": compilation, "evaluate exactly": exact_evaluation, "update": single_update}
    for series, workload in workloads.items():
        base = workload(BASE)
        for size in sizes:
            ratio = measure_ratio(workload(size), base, min(effort.rounds, 3), 0)
            yield Figure.of_cost(f"{series}, {size} x {size}", ratio, series=series, x=size)


def compilation(size: int) -> Workload:
    """Compile the world's tables with an empty cache."""

    def run() -> float:
        cached_tables.cache_clear()
        envs.compile_world(gymnasium.make_vec(WORLD, num_envs=1, size=size))
        return 1

    return run


def exact_evaluation(size: int, **env_kwargs: int) -> Workload:
    """Evaluate an untrained policy exactly."""
    evaluate, _ = agents.make_evaluator(WORLD, 0, size=size, **env_kwargs)
    env = agents.make_vec_env(WORLD, 1, size=size, **env_kwargs)
    policy = agents.build(env, "naive", 0, algorithm="ppo").policy

    def run() -> float:
        evaluate(policy)
        return 1

    return run


def single_update(size: int, **env_kwargs: int) -> Workload:
    """Collect a rollout and update by `reinforce`; counts as one unit of work."""
    env = agents.make_vec_env(WORLD, 512, size=size, **env_kwargs)
    update = rollout_and_update(agents.build(env, "gradient_routing", 0, n_epochs=4))

    def run() -> float:
        update()
        return 1

    return run
