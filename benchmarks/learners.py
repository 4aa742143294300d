"""Training, end to end

A step is one of the environment, with its share of rollout, overseer, method and update. Every learner trains in the
diamond grid as it trains best (`LEARNER_DEFAULTS`), and stock PPO as our ppo does. Its actor is one network where ours are
two experts and a gate, so it has half the arithmetic. What is timed are the first updates of a run, when the policy
still meets most observations: the dearest ones for `reinforce`, the same for ppo. With
more copies an update has more samples and hardly more observations. "Paper" is the update of Cloud et
al. 2024, section 4.3: one step on a rollout of 512 copies, width 256, with a forward pass for each distinct observation
(reinforce), or two for each sample (ppo), or one (reinforce in a world without tables).
"""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from stable_baselines3 import PPO
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm

import agents
from benchmarks.harness.figures import Figure
from benchmarks.harness.paired import Effort, Way, paired
from flows.config import TrainConfig
from flows.presets import PRESETS

UNIT = "steps in a CPU-second, the first of a group being 1"
WORLD = "keyhole/DiamondGhost-v0"
PAPER = PRESETS["paper"]["training"]
LARGE: Mapping[str, Mapping[str, Any]] = {
    "8192 copies": {"n_envs": 8192},
    "16384 copies, 1 epoch": {"n_envs": 16384, "n_epochs": 1},
}
NOTHING: Mapping[str, Any] = {}
LEARNERS, PRECISIONS = ("ppo", "reinforce"), ("fp32", "bf16")


def measure(effort: Effort) -> Iterator[Figure]:
    """Three groups; in each everything against one peer."""
    for width in (64, 256) if effort.whole else (64,):
        yield from _compared(f"width {width}", "stock PPO", stock(width), learners(width), effort)
    yield from _compared("paper", "ppo fp32", paper("ppo"), papers(), effort)


def _compared(group: str, peer: str, base: Way, ways: dict[str, Way], effort: Effort) -> Iterator[Figure]:
    for name, way in ways.items():
        ratio = paired(way, base, min(effort.rounds, 3), effort.seconds)
        yield Figure.of(f"{name} / {peer}, {group}", ratio, "k steps/CPU-s", 1e3)


def learners(width: int) -> dict[str, Way]:
    """Ours, under gradient routing."""
    ways = {f"{name} {kind}": ours(name, width=width, precision=kind) for name in LEARNERS for kind in PRECISIONS}
    for name, said in LARGE.items():
        ways[f"reinforce bf16, {name}"] = ours("reinforce", width=width, precision="bf16", **said)
    return ways


def papers() -> dict[str, Way]:
    """The paper's update, by distinct observations and by samples."""
    ways = {f"reinforce {kind}": paper("reinforce", precision=kind) for kind in PRECISIONS}
    by_samples = {f"reinforce {kind}, no tables": _without_tables(precision=kind) for kind in PRECISIONS}
    return {**ways, **by_samples, "ppo bf16": paper("ppo", precision="bf16")}


def paper(learner: str, **said: Any) -> Way:
    """The paper's settings and method."""
    return ours(learner, "gradient_routing_paper", **PAPER, **said)


def _without_tables(**said: Any) -> Way:
    """The paper's settings and method, as in a world that is too large for tables."""
    return ours("reinforce", "gradient_routing_paper", {"by_tables": False}, **PAPER, **said)


def ours(learner: str, method: str = "gradient_routing", how: Mapping[str, Any] = NOTHING, **said: Any) -> Way:
    """A rollout and its update, by one of our learners."""
    settings = TrainConfig.model_validate({"learner": learner, "training": said}).training.model_dump()
    env = agents.make_vec_env(WORLD, settings.pop("n_envs"))
    return trained(agents.build(env, method, 0, algorithm=learner, **settings, **how))


def stock(width: int) -> Way:
    """A rollout and its update, by Stable-Baselines3's PPO and policy."""
    settings = TrainConfig.model_validate({"learner": "ppo"}).training
    layers = [width, width]
    env = agents.make_vec_env(WORLD, settings.n_envs)
    keys = {"n_steps", "batch_size", "n_epochs", "learning_rate", "gae_lambda", "clip_range", "ent_coef", "vf_coef"}
    how = {"net_arch": {"pi": layers, "vf": layers}, "activation_fn": torch.nn.ReLU}
    return trained(PPO("MlpPolicy", env, policy_kwargs=how, seed=0, device="cpu", **settings.model_dump(include=keys)))


def trained(model: OnPolicyAlgorithm) -> Way:
    """One rollout and its update, from where the model is."""

    def way() -> float:
        before = model.num_timesteps
        model.learn(1, reset_num_timesteps=False)  # no rollout is shorter
        return model.num_timesteps - before

    return way
