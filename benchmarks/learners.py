"""End-to-end training.

One step of work is an environment step with its share of rollout, overseer, method and update. Each learner trains in
the diamond grid with the settings it trains best with, the defaults of `TrainConfig`. Stock PPO uses the settings of
our ppo; its actor is one network where ours has two experts and a gate, so it does about half the arithmetic. The timed
updates are the first of a run, when the policy still visits most observations: these are the most expensive ones for
`reinforce`, and as expensive as any other for ppo. With more copies an update has more samples and hardly more distinct
observations. The name of a figure ends in the reference learner, after the slash, and the group.

"Paper" is the update of Cloud et al. 2024 (arXiv 2410.04332), section 4.3: one optimiser step on a rollout of 512
copies, width 256. `reinforce` runs one forward pass per distinct observation, or one per sample in a world without
tables; ppo runs two per sample.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from stable_baselines3 import PPO
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm

import agents
from benchmarks.harness.figures import Figure
from benchmarks.harness.paired import Effort, Workload, measure_ratio
from flows.config import TrainConfig
from flows.presets import PRESETS

UNIT = "steps per CPU-second relative to the reference"
WORLD = "keyhole/DiamondGhost-v0"
PAPER = PRESETS["paper"]["training"]
PAPER_METHOD = "gradient_routing(baseline=unjudged)"
LARGE: Mapping[str, Mapping[str, Any]] = {
    "8192 copies": {"n_envs": 8192},
    "16384 copies, 1 epoch": {"n_envs": 16384, "n_epochs": 1},
}
NO_ARGUMENTS: Mapping[str, Any] = {}
LEARNERS, PRECISIONS = ("ppo", "reinforce"), ("fp32", "bf16")


def measure(effort: Effort) -> Iterator[Figure]:
    """Measure three groups of learners, each against one reference learner."""
    for width in (64, 256) if effort.full else (64,):
        base = stock_ppo_workload(width)
        yield from _compare_group(f"width {width}", "stock PPO", base, learner_workloads(width), effort)
    yield from _compare_group("paper", "ppo fp32", paper_workload("ppo"), paper_workloads(), effort)


def _compare_group(
    group: str, reference: str, base: Workload, workloads: dict[str, Workload], effort: Effort
) -> Iterator[Figure]:
    for name, workload in workloads.items():
        ratio = measure_ratio(workload, base, min(effort.rounds, 3), effort.seconds)
        yield Figure.of(f"{name} / {reference}, {group}", ratio, "k steps/CPU-s", 1e3)


def learner_workloads(width: int) -> dict[str, Workload]:
    """Our learners under gradient routing, by name and precision."""
    workloads = {
        f"{learner} {precision}": training_workload(learner, width=width, precision=precision)
        for learner in LEARNERS
        for precision in PRECISIONS
    }
    for name, options in LARGE.items():
        workloads[f"reinforce bf16, {name}"] = training_workload("reinforce", width=width, precision="bf16", **options)
    return workloads


def paper_workloads() -> dict[str, Workload]:
    """The paper's update, by distinct observations and by samples."""
    by_observations = {f"reinforce {kind}": paper_workload("reinforce", precision=kind) for kind in PRECISIONS}
    by_samples = {f"reinforce {kind}, no tables": _paper_workload_by_samples(precision=kind) for kind in PRECISIONS}
    return {**by_observations, **by_samples, "ppo bf16": paper_workload("ppo", precision="bf16")}


def paper_workload(learner: str, **options: Any) -> Workload:
    """A rollout and its update, with the paper's settings and method."""
    return training_workload(learner, PAPER_METHOD, **PAPER, **options)


def _paper_workload_by_samples(**options: Any) -> Workload:
    """The paper's settings and method, as in a world that is too large for tables."""
    return training_workload("reinforce", PAPER_METHOD, {"by_tables": False}, **PAPER, **options)


def training_workload(
    learner: str,
    method: str = "gradient_routing",
    build_arguments: Mapping[str, Any] = NO_ARGUMENTS,
    **options: Any,
) -> Workload:
    """A rollout and its update by one of our learners; `options` override its training settings."""
    settings = TrainConfig.model_validate({"learner": learner, "training": options}).training.model_dump()
    env = agents.make_vec_env(WORLD, settings.pop("n_envs"))
    return rollout_and_update(agents.build(env, method, 0, algorithm=learner, **settings, **build_arguments))


def stock_ppo_workload(width: int) -> Workload:
    """A rollout and its update by Stable-Baselines3's PPO and policy, with two hidden layers of `width` units."""
    settings = TrainConfig.model_validate({"learner": "ppo"}).training
    layers = [width, width]
    env = agents.make_vec_env(WORLD, settings.n_envs)
    keys = {"n_steps", "batch_size", "n_epochs", "learning_rate", "gae_lambda", "clip_range", "ent_coef", "vf_coef"}
    network = {"net_arch": {"pi": layers, "vf": layers}, "activation_fn": torch.nn.ReLU}
    options = settings.model_dump(include=keys)
    return rollout_and_update(PPO("MlpPolicy", env, policy_kwargs=network, seed=0, device="cpu", **options))


def rollout_and_update(model: OnPolicyAlgorithm) -> Workload:
    """Continue training the model by one rollout and its update; work in environment steps."""

    def run() -> float:
        before = model.num_timesteps
        model.learn(1, reset_num_timesteps=False)  # one step requested: exactly one rollout is collected
        return model.num_timesteps - before

    return run
