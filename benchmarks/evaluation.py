"""Exact evaluation against sampling.

Both compute the return of one untrained policy: from the tables, or as the mean of 4096 episodes. The error of a sample
mean falls with the square root of the computing time. To reach an error of 0.001, which is the resolution of the result
tables, sampling therefore needs (error / 0.001)^2 times as long. The exact value has no sampling error.
"""

import math
from collections.abc import Iterator

import agents
from agents.evaluate import Evaluator, ExactEvaluator, SampledEvaluator
from benchmarks.harness.figures import Figure
from benchmarks.harness.paired import Effort, Spread, Workload, measure_ratio
from benchmarks.learners import WORLD

UNIT = "CPU time relative to exact evaluation"
EPISODES, SEEDS, TARGET_ERROR = 4096, 9, 1e-3


def measure(effort: Effort) -> Iterator[Figure]:
    """Measure the ratio of times for a fixed number of episodes, and extrapolate it to the target error."""
    policy = agents.build(agents.make_vec_env(WORLD, 1), "naive", 0, algorithm="ppo").policy
    exact, samples = ExactEvaluator(WORLD), [SampledEvaluator(WORLD, seed, EPISODES) for seed in range(SEEDS)]

    def workload(evaluate: Evaluator) -> Workload:
        return lambda: evaluate(policy).episode_length > 0

    ratio = measure_ratio(workload(exact), workload(samples[0]), effort.rounds, effort.seconds)
    exact_return = exact(policy).true_return
    error = math.sqrt(sum((sample(policy).true_return - exact_return) ** 2 for sample in samples) / SEEDS)
    yield Figure(f"{EPISODES} episodes", *ratio[::3], ratio.wall, 1e3 / ratio.speed, "CPU-ms, exact")
    extrapolated = Spread(*(times * (error / TARGET_ERROR) ** 2 for times in ratio.cpu))
    error_in_equal_time = error * math.sqrt(ratio.cpu.median)
    name = f"episodes for an error of {TARGET_ERROR:g}"
    yield Figure(name, extrapolated, ratio.rounds, None, error_in_equal_time, "error in equal time")
