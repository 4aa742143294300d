"""Exact evaluation against sampling

The return of one untrained policy, as computed from the tables, and as the mean of 4096 episodes. The error of a mean
falls with the root of the time it takes, so sampling needs the square of its error in thousandths as many times as
long to be right to .001, a difference that a table of results prints. The exact value has no such error.
"""

import math
from collections.abc import Iterator

import agents
from agents.evaluate import Evaluator, ExactEvaluator, SampledEvaluator
from benchmarks.harness.figures import Figure
from benchmarks.harness.paired import Effort, Spread, Way, paired
from benchmarks.learners import WORLD

UNIT = "times the CPU time of the exact evaluation"
EPISODES, SEEDS, WANTED = 4096, 9, 1e-3


def measure(effort: Effort) -> Iterator[Figure]:
    """The ratio of times, for as many episodes, and for as many as the error wants."""
    policy = agents.build(agents.make_vec_env(WORLD, 1), "naive", 0, algorithm="ppo").policy
    exact, samples = ExactEvaluator(WORLD), [SampledEvaluator(WORLD, seed, EPISODES) for seed in range(SEEDS)]

    def evaluated(evaluate: Evaluator) -> Way:
        return lambda: evaluate(policy).episode_length > 0

    ratio = paired(evaluated(exact), evaluated(samples[0]), effort.rounds, effort.seconds)
    truth = exact(policy).true_return
    error = math.sqrt(sum((sample(policy).true_return - truth) ** 2 for sample in samples) / SEEDS)
    yield Figure(f"{EPISODES} episodes", *ratio[::3], ratio.wall, 1e3 / ratio.speed, "CPU-ms, exact")
    longer = Spread(*(times * (error / WANTED) ** 2 for times in ratio.cpu))
    equal = error * math.sqrt(ratio.cpu.median)
    yield Figure(f"episodes for an error of {WANTED:g}", longer, ratio.rounds, None, equal, "error in equal time")
