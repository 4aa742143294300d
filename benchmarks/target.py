"""Cost of reaching 90 % of the plain ceiling.

The ceiling, 0.743, is the true return of taking a shortest path to the diamond whatever the overseer observes. The
policy is evaluated exactly throughout a run, as gradient routing deploys it; the time of evaluations is not counted.
One seed is one round: both learners train with it, one after the other. A run stops when it has reached the target,
used all its steps, or spent its time budget. Costs are compared over the seeds with which at least one learner reached
the target; a run that did not is counted with what it used until it stopped. The name of the figure gives the number
of runs that reached it.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from stable_baselines3.common.callbacks import BaseCallback

import agents
from agents.evaluate import Evaluator
from benchmarks.harness.figures import Figure
from benchmarks.harness.paired import Effort, Spread, cpu_seconds
from benchmarks.learners import WORLD
from flows.config import TrainConfig
from routing import find

UNIT = "ppo relative to reinforce, same seed"
TARGET = 0.9 * 0.743
METHOD = "gradient_routing_weighted"
EVALUATION_INTERVAL = 65_536  # steps
STEPS_FACTOR = 3  # times the steps of an ordinary run, which may not be enough
BUDGET, QUICK_BUDGET = 14.0, 2.0  # CPU-seconds of a run
LEARNERS, COSTS = ("reinforce", "ppo"), {"cpu": "CPU-s", "steps": "steps"}


class CostToTarget(NamedTuple):
    """What one run had used when it reached the target or stopped."""

    cpu: float  # CPU-seconds
    steps: float
    best: float  # highest true return of all evaluations

    @property
    def reached(self) -> bool:
        return self.best >= TARGET


class StopAtTarget(BaseCallback):
    """Stop a run when its policy's true return reaches `TARGET` or its time budget is spent."""

    def __init__(self, evaluate: Evaluator, budget: float) -> None:
        super().__init__()
        self.evaluate, self.budget = evaluate, budget
        self.used, self.evaluated_at, self.best = 0.0, 0, -np.inf

    def _on_training_start(self) -> None:
        self.since = cpu_seconds()

    def _on_rollout_start(self) -> None:
        if self.num_timesteps - self.evaluated_at >= EVALUATION_INTERVAL:
            self._evaluate()

    def _on_training_end(self) -> None:
        self._evaluate()

    def _evaluate(self) -> None:
        self.used += cpu_seconds() - self.since
        policy = self.model.policy
        assert isinstance(policy, agents.BlockPolicy)  # the callback's declared type is wider
        (evaluation,) = self.evaluate.each(policy, [agents.use_of(find(METHOD).deployments[0])])
        self.best = max(self.best, evaluation.true_return)
        self.evaluated_at, self.since = self.num_timesteps, cpu_seconds()

    def _on_step(self) -> bool:
        return self.best < TARGET and self.used < self.budget


def measure(effort: Effort) -> Iterator[Figure]:
    """Compare CPU-seconds, steps and the best return, at two oversight levels."""
    seeds, budget = (3, BUDGET) if effort.full else (1, QUICK_BUDGET)
    for oversight in (0.1, 0.03) if effort.full else (0.1,):
        evaluate, _ = agents.make_evaluator(WORLD, 0, oversight_prob=oversight)
        runs = [
            {learner: train_to_target(learner, seed, oversight, evaluate, budget) for learner in LEARNERS}
            for seed in range(seeds)
        ]
        counts = ", ".join(f"{name} {sum(run[name].reached for run in runs)}/{seeds}" for name in LEARNERS)
        counted = [run for run in runs if any(cost.reached for cost in run.values())]
        for field, unit in COSTS.items() if counted else ():
            yield _compare_costs(f"{unit} at p = {oversight:g} ({counts})", field, unit, counted)
        yield _compare_costs(f"best true return at p = {oversight:g}", "best", "true return", runs)


def _compare_costs(name: str, field: str, unit: str, runs: list[dict[str, CostToTarget]]) -> Figure:
    values = {learner: [getattr(run[learner], field) for run in runs] for learner in LEARNERS}
    ratios = Spread.of(ppo / reinforce for reinforce, ppo in zip(values["reinforce"], values["ppo"], strict=True))
    return Figure(name, ratios, len(runs), None, Spread.of(values["reinforce"]).median, f"{unit} of reinforce")


def train_to_target(learner: str, seed: int, oversight: float, evaluate: Evaluator, budget: float) -> CostToTarget:
    """Train one run with the learner's best settings until it reaches the target or stops."""
    config = TrainConfig.model_validate({"learner": learner})
    settings = config.training.model_dump()
    env = agents.make_vec_env(WORLD, settings.pop("n_envs"), oversight_prob=oversight)
    model = agents.build(env, METHOD, seed, algorithm=learner, **settings)
    callback = StopAtTarget(evaluate, budget)
    model.learn(STEPS_FACTOR * config.steps, callback=callback)
    return CostToTarget(callback.used, model.num_timesteps, callback.best)
