"""What it takes to get to 90 % of the plain ceiling

The ceiling is the true return of walking to the diamond by a shortest path, whatever the overseer sees: .743. A run is
looked at all along its way, by exact evaluation of the policy as gradient routing deploys it; looking is not counted
in its time. One seed is one round: both learners train from it, one after the other. A run that does not arrive in
its steps or its budget of time is counted as far as it got, and the figure says how many arrived.
"""

from collections.abc import Iterator
from typing import NamedTuple

from stable_baselines3.common.callbacks import BaseCallback

import agents
from agents.evaluate import Evaluator
from benchmarks.figures import Figure
from benchmarks.learners import WORLD
from benchmarks.paired import Effort, Spread, cpu_seconds
from flows.config import TrainConfig
from routing import find

UNIT = "ppo's need as a multiple of reinforce's, same seed"
TARGET = 0.9 * 0.743
METHOD = "gradient_routing"
LOOK_EVERY = 65_536  # steps
BUDGET, BUDGET_OF_TRIAL = 12.0, 2.0  # CPU-seconds of a run
LEARNERS = ("reinforce", "ppo")


class Need(NamedTuple):
    """What one run has used when it was there, or stopped."""

    cpu: float
    steps: float
    arrived: bool


class UntilThere(BaseCallback):
    """Stops a run when its policy is worth `TARGET`, or its time is up."""

    def __init__(self, evaluate: Evaluator, budget: float) -> None:
        super().__init__()
        self.evaluate, self.budget = evaluate, budget
        self.used, self.looked, self.arrived = 0.0, 0, False

    def _on_training_start(self) -> None:
        self.since = cpu_seconds()

    def _on_rollout_start(self) -> None:
        if self.num_timesteps - self.looked >= LOOK_EVERY:
            self.used += cpu_seconds() - self.since
            policy = self.model.policy
            assert isinstance(policy, agents.BlockPolicy)  # the callback's type of it is wider
            (found,) = self.evaluate.each(policy, [agents.Use(find(METHOD).deployments[0].scales)])
            self.arrived = found.true_return >= TARGET
            self.looked, self.since = self.num_timesteps, cpu_seconds()

    def _on_step(self) -> bool:
        return not self.arrived and self.used < self.budget


def measure(effort: Effort) -> Iterator[Figure]:
    """CPU-seconds and steps, at two levels of oversight."""
    seeds, budget = (3, BUDGET) if effort.whole else (1, BUDGET_OF_TRIAL)
    for oversight in (0.1, 0.03) if effort.whole else (0.1,):
        evaluate, _ = agents.make_evaluator(WORLD, 0, oversight_prob=oversight)
        runs = [{name: need(name, seed, oversight, evaluate, budget) for name in LEARNERS} for seed in range(seeds)]
        there = ", ".join(f"{name} {sum(run[name].arrived for run in runs)}/{seeds}" for name in LEARNERS)
        for unit, what in (("cpu", "CPU-s"), ("steps", "steps")):
            ratios = Spread.of(getattr(run["ppo"], unit) / getattr(run["reinforce"], unit) for run in runs)
            ours = Spread.of(getattr(run["reinforce"], unit) for run in runs).median
            yield Figure(f"{what} at p = {oversight:g} ({there})", ratios, seeds, None, ours, f"{what} of reinforce")


def need(learner: str, seed: int, oversight: float, evaluate: Evaluator, budget: float) -> Need:
    """What one run needs, in the settings that its learner trains best with."""
    config = TrainConfig.model_validate({"learner": learner})
    settings = config.training.model_dump()
    env = agents.make_vec_env(WORLD, settings.pop("n_envs"), oversight_prob=oversight)
    model = agents.build(env, METHOD, seed, algorithm=learner, **settings)
    watch = UntilThere(evaluate, budget)
    model.learn(config.steps, callback=watch)
    return Need(watch.used, model.num_timesteps, watch.arrived)
