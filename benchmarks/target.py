"""What it takes to get to 90 % of the plain ceiling

The ceiling is the true return of walking to the diamond by a shortest path, whatever the overseer sees: .743. A run is
looked at all along its way, by exact evaluation of the policy as gradient routing deploys it; looking is not counted
in its time. One seed is one round: both learners train from it, one after the other. A run stops when it has arrived,
when its steps are done, or when its budget of time is spent. Needs are compared over the seeds with which at least
one of the two arrived, a run that did not being counted as far as it got; the figure says how many arrived.
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

UNIT = "of ppo as a multiple of reinforce's, same seed"
TARGET = 0.9 * 0.743
METHOD = "gradient_routing"
LOOK_EVERY = 65_536  # steps
LONGER = 3  # times the steps of an ordinary run, which may not do
BUDGET, BUDGET_OF_TRIAL = 14.0, 2.0  # CPU-seconds of a run
LEARNERS, NEEDS = ("reinforce", "ppo"), {"cpu": "CPU-s", "steps": "steps"}


class Need(NamedTuple):
    """What one run has used when it was there, or stopped."""

    cpu: float
    steps: float
    best: float  # of all true returns on the way

    @property
    def arrived(self) -> bool:
        return self.best >= TARGET


class StopAtTarget(BaseCallback):
    """Stops a run when its policy is worth `TARGET`, or its time is up."""

    def __init__(self, evaluate: Evaluator, budget: float) -> None:
        super().__init__()
        self.evaluate, self.budget = evaluate, budget
        self.used, self.looked, self.best = 0.0, 0, -np.inf

    def _on_training_start(self) -> None:
        self.since = cpu_seconds()

    def _on_rollout_start(self) -> None:
        if self.num_timesteps - self.looked >= LOOK_EVERY:
            self._look()

    def _on_training_end(self) -> None:
        self._look()

    def _look(self) -> None:
        self.used += cpu_seconds() - self.since
        policy = self.model.policy
        assert isinstance(policy, agents.BlockPolicy)  # the callback's type of it is wider
        (found,) = self.evaluate.each(policy, [agents.BlockUse(find(METHOD).deployments[0].scales)])
        self.best = max(self.best, found.true_return)
        self.looked, self.since = self.num_timesteps, cpu_seconds()

    def _on_step(self) -> bool:
        return self.best < TARGET and self.used < self.budget


def measure(effort: Effort) -> Iterator[Figure]:
    """CPU-seconds, steps and the best return, at two levels of oversight."""
    seeds, budget = (3, BUDGET) if effort.whole else (1, BUDGET_OF_TRIAL)
    for oversight in (0.1, 0.03) if effort.whole else (0.1,):
        evaluate, _ = agents.make_evaluator(WORLD, 0, oversight_prob=oversight)
        runs = [{name: need(name, seed, oversight, evaluate, budget) for name in LEARNERS} for seed in range(seeds)]
        there = ", ".join(f"{name} {sum(run[name].arrived for run in runs)}/{seeds}" for name in LEARNERS)
        told = [run for run in runs if any(one.arrived for one in run.values())]
        for field, unit in NEEDS.items() if told else ():
            yield _compared(f"{unit} at p = {oversight:g} ({there})", field, unit, told)
        yield _compared(f"best true return at p = {oversight:g}", "best", "true return", runs)


def _compared(name: str, field: str, unit: str, runs: list[dict[str, Need]]) -> Figure:
    needs = {learner: [getattr(run[learner], field) for run in runs] for learner in LEARNERS}
    ratios = Spread.of(other / own for own, other in zip(needs["reinforce"], needs["ppo"], strict=True))
    return Figure(name, ratios, len(runs), None, Spread.of(needs["reinforce"]).median, f"{unit} of reinforce")


def need(learner: str, seed: int, oversight: float, evaluate: Evaluator, budget: float) -> Need:
    """What one run needs, in the settings that its learner trains best with."""
    config = TrainConfig.model_validate({"learner": learner})
    settings = config.training.model_dump()
    env = agents.make_vec_env(WORLD, settings.pop("n_envs"), oversight_prob=oversight)
    model = agents.build(env, METHOD, seed, algorithm=learner, **settings)
    watch = StopAtTarget(evaluate, budget)
    model.learn(LONGER * config.steps, callback=watch)
    return Need(watch.used, model.num_timesteps, watch.best)
