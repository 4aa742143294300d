"""One run: an agent is trained under an oversight method, looked at along the way, and deployed as the method says.

This module knows neither Prefect nor MLflow: it writes to a `Recorder`.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import agents
from flows.config import TrainConfig
from flows.reporting.run_figures import learning_curve_figure, policy_figure
from routing import BLOCKS, find

STATE = "state.pt"  # in the run's folder while the run lasts


class Recorder(Protocol):
    """Where a run's numbers and files go."""

    folder: Path
    """Files written here become the run's artifacts."""

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        """One point of each series."""

    def progress(self, done: int, value: float) -> None:
        """Steps done so far, and the true return now."""

    def tags(self, values: Mapping[str, str]) -> None:
        """Facts about the run."""


def run(config: TrainConfig, recorder: Recorder) -> None:
    """Train, evaluate at checkpoints, choose and evaluate what is deployed, and write the run's files."""
    world = {"oversight_prob": config.oversight, **config.env_kwargs}
    settings = config.training.model_dump()
    env = agents.make_vec_env(config.env, settings.pop("n_envs"), **world)
    model = agents.build(env, config.method, config.seed, algorithm=config.learner, **settings)
    evaluate, exact = agents.make_evaluator(config.env, config.seed, **world)
    watcher = Watcher(model.policy, evaluate, find(config.method).deployments, recorder)
    facts = {"exactness": "exact" if exact else "sampled", **_knowledge(env.env), **_deployments(watcher.choices)}
    recorder.tags(facts)
    file = agents.StateFile(recorder.folder / STATE, config.model_dump_json(), watcher)
    if file.damage:
        recorder.tags({"resumed": file.damage})
    model.learn(config.steps, callback=agents.Checkpoints(config.steps, config.checkpoints, watcher.visit, file))
    recorder.metrics(model.num_timesteps, block_metrics(model.policy, evaluate))
    for choice in reversed(watcher.choices):  # the first rule's policy stays
        model.policy.load_state_dict(choice.parameters)
        recorder.metrics(model.num_timesteps, selected_metrics(model.policy, evaluate, choice))
    agents.save(recorder.folder / "agent.zip", model.policy, config.env, world, config.method, seed=config.seed)
    (recorder.folder / "config.json").write_text(json.dumps(config.model_dump(mode="json"), indent=2) + "\n")
    title = f"{config.label}, oversight {config.oversight:g}, seed {config.seed}"
    learning_curve_figure(watcher.curve, title, recorder.folder / "learning_curve.png")
    policy_figure(model.policy, env.env, title, recorder.folder / "policy.png")
    env.close()
    file.remove()


class Watcher:
    """Looks at a policy along its run: keeps its curve, and the checkpoint that each deployment rule chose."""

    def __init__(self, policy, evaluate, deployments, recorder: Recorder) -> None:
        self.policy, self.evaluate, self.recorder = policy, evaluate, recorder
        self.choices = [agents.CheckpointChoice(deployment) for deployment in deployments]
        self.curve: list[tuple[int, dict[str, float]]] = []

    def visit(self, step: int, metrics: dict[str, float]) -> None:
        """Evaluate, consider as a choice, and tell of it."""
        metrics |= checkpoint_metrics(self.policy, self.evaluate, self.choices[0].deployment)
        for choice in self.choices:
            choice.consider(step, metrics, self.policy.state_dict())
        self.curve.append((step, metrics))
        self._report(step, metrics)

    def _report(self, step: int, metrics: dict[str, float]) -> None:
        self.recorder.metrics(step, metrics)
        self.recorder.progress(step, metrics["eval/true_return"])

    def snapshot(self) -> dict[str, Any]:
        return {"choices": [choice.snapshot() for choice in self.choices], "curve": self.curve}

    def restore(self, state: dict[str, Any]) -> None:
        """Goes on, and tells the whole curve again: whoever wrote it down may have missed the last of it."""
        for choice, chosen in zip(self.choices, state["choices"], strict=True):
            choice.restore(chosen)
        self.curve = [(step, metrics) for step, metrics in state["curve"]]
        for step, metrics in self.curve:
            self._report(step, metrics)
        self.recorder.tags({"resumed": f"from step {self.curve[-1][0]}"})


def checkpoint_metrics(policy, evaluate, deployment) -> dict[str, float]:
    """The true return as the first deployment rule has it, by stratum, and of the whole policy."""
    uses = list(dict.fromkeys([agents.BlockUse(deployment.scales), agents.BlockUse()]))
    deployed, whole = (evaluate.each(policy, uses) * 2)[:2]
    return {
        "eval/true_return": deployed.true_return,
        "eval/true_return/seen": deployed.true_return_seen,
        "eval/true_return/unseen": deployed.true_return_unseen,
        "eval/true_return/whole": whole.true_return,
        "eval/proxy_return": deployed.proxy_return,
        "eval/episode_length": deployed.episode_length,
    }


def block_metrics(policy, evaluate) -> dict[str, float]:
    """The true return of the last policy with each of its blocks ablated."""
    blocks = [block for block in BLOCKS if next(policy.block_parameters(block), None) is not None]
    found = evaluate.each(policy, [agents.BlockUse(without=frozenset([block])) for block in blocks])
    return {f"eval/true_return/without_{block}": one.true_return for block, one in zip(blocks, found, strict=True)}


def selected_metrics(policy, evaluate, choice) -> dict[str, float]:
    """The true return of the checkpoint that a deployment rule chose, deployed by that rule."""
    name = choice.deployment.name
    (final,) = evaluate.each(policy, [agents.BlockUse(choice.deployment.scales)])
    return {
        f"selected/true_return/{name}": final.true_return,
        f"selected/true_return_seen/{name}": final.true_return_seen,
        f"selected/true_return_unseen/{name}": final.true_return_unseen,
        f"selected/step/{name}": choice.step,
    }


def _knowledge(world) -> dict[str, str]:
    """What the agent knows of the overseer, where the world has such a thing."""
    known = getattr(world, "knowledge", "")  # a world of somebody else may not say
    return {"knowledge": known} if known else {}


def _deployments(choices) -> dict[str, str]:
    rules = [choice.deployment for choice in choices]
    leaky = [rule.name for rule in rules if rule.leaky]
    return {"deployments": ",".join(rule.name for rule in rules), "leaky": ",".join(leaky)}
