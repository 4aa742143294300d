"""Trains, evaluates and saves one agent under an oversight method.

Results go to a `Recorder`, so this module depends on neither Prefect nor MLflow.
"""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import agents
from agents.absorption import absorption
from agents.after import AFTER
from agents.dead_units import counting_dead_units
from agents.relearning import relearning_method
from flows.config import NO_MEMORY, TrainConfig
from flows.reporting.run_figures import learning_curve_figure, policy_figure
from flows.tracking.metric_names import bad_act_metric, outcome_metric
from flows.tracking.missing import MISSING, Missing
from routing import find

STATE = "state.pt"  # in the run's folder until the run ends
RELEARNING_SEED = 0x5EED  # added to a run's seed, for the rollouts of its fine-tuning


class Recorder(Protocol):
    """Receives the metrics, tags and files of a run."""

    folder: Path
    """Files written here become the run's artifacts."""

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        """Records one point of each series."""

    def progress(self, done: int, value: float) -> None:
        """Reports the steps done and the current true return."""

    def tags(self, values: Mapping[str, str]) -> None:
        """Records facts about the run."""


def run(config: TrainConfig, recorder: Recorder) -> None:
    """Trains an agent, evaluates checkpoints, selects and evaluates the deployed policies, and writes the run's files.

    A state file in the recorder's folder makes the run continue where it was interrupted.

    Args:
        config: The run.
        recorder: Receives the results.
    """
    env, model = build_learner(config)
    arguments = world_arguments(config)
    evaluate, exact = agents.make_evaluator(config.env, config.seed, config.eval_episodes, **arguments)
    evaluator = CheckpointEvaluator(model.policy, evaluate, find(config.method).deployments, recorder)
    tags = {"exactness": "exact" if exact else "sampled", **_channel(env.env), **_deployment_tags(evaluator.choices)}
    recorder.tags(tags)
    file = agents.StateFile(recorder.folder / STATE, config.model_dump_json(), evaluator)
    if file.damage:
        recorder.tags({"resumed": file.damage})
    model.learn(config.steps, callback=agents.Checkpoints(config.steps, config.checkpoints, evaluator.visit, file))
    with counting_dead_units(model.policy) as dead:
        recorder.metrics(model.num_timesteps, block_metrics(model.policy, evaluate))
    recorder.metrics(model.num_timesteps, {f"dead_units/{block}": share for block, share in dead.items()})
    if not all(choice.deployment.is_whole for choice in evaluator.choices):  # else no expert has a role of its own
        recorder.metrics(model.num_timesteps, absorption(model, evaluate, config.seed))
        for tenth, evaluation in enumerate(agents.at_each_scale(model.policy, evaluate)):
            recorder.metrics(tenth, scale_metrics(evaluation))
    scales: dict[str, float] = {}
    for choice in reversed(evaluator.choices):  # the first rule's policy is the one saved
        policy, use, measured = deployed_policy(config, model, choice, evaluator.uses)
        recorder.metrics(model.num_timesteps, selected_metrics(policy, use, evaluate, choice))
        if measured is not None:
            scales[choice.deployment.name] = measured
            recorder.metrics(model.num_timesteps, {f"selected/scale/{choice.deployment.name}": measured})
    save_agent(config, policy, recorder.folder, scales)
    (recorder.folder / "config.json").write_text(json.dumps(config.model_dump(mode="json"), indent=2) + "\n")
    title = f"{config.label}, {config.at.title}, seed {config.seed}"
    missing = Missing()
    with missing.part("learning_curve.png"):
        learning_curve_figure(evaluator.curve, title, recorder.folder / "learning_curve.png")
    with missing.part("policy.png"):
        policy_figure(policy, env.env, title, recorder.folder / "policy.png")
    if missing:
        recorder.tags({MISSING: str(missing)})
    if config.relearn_updates:  # last, because it seeds the global generators
        relearn_deployed(config, policy, use, evaluate, recorder)
    env.close()
    file.remove()


def world_arguments(config: TrainConfig) -> dict[str, Any]:
    """The keyword arguments of a run's environment, of its overseer's limits and of the agent's memory."""
    limits = {"overseer": config.overseer} if config.overseer else {}
    memory = {"memory": config.memory} if config.memory != NO_MEMORY else {}
    return {"oversight_prob": config.oversight, **limits, **memory, **config.env_kwargs}


def build_learner(config: TrainConfig) -> tuple[agents.GymnasiumVecEnv, agents.RoutedPPO]:
    """Builds the environment and the learner of a run."""
    settings = config.training.model_dump()
    env = agents.make_vec_env(config.env, settings.pop("n_envs"), **world_arguments(config))
    model = agents.build(env, config.method, config.seed, algorithm=config.learner, memory=config.memory, **settings)
    if config.start:
        agents.warm_start(model.policy, agents.load(config.start))
    return env, model


def deployed_policy(
    config: TrainConfig, model: agents.RoutedPPO, choice: agents.CheckpointChoice, uses: agents.RuleUses
) -> tuple[agents.BlockPolicy, agents.BlockUse, float | None]:
    """The policy that a deployment rule deploys, how its blocks are used, and the scale that the rule measured."""
    model.policy.load_state_dict(choice.parameters)
    use, after = uses.use(model.policy, choice.deployment), find(config.method).value("after")
    if after is None:
        return model.policy, use, use.forget_scale
    changed = AFTER[after.name](model.policy, use, model.known_observations(), None, config.seed, **after.arguments)
    return changed, agents.BlockUse(), use.forget_scale


def save_agent(
    config: TrainConfig, policy: agents.BlockPolicy, folder: Path, forget_scales: Mapping[str, float]
) -> None:
    """Saves the agent of a run in its folder, with the scale that each rule measured."""
    path, world = folder / "agent.zip", world_arguments(config)
    agents.save(path, policy, config.env, world, config.method, forget_scales, seed=config.seed)


def relearn_deployed(config: TrainConfig, policy: agents.BlockPolicy, use: agents.BlockUse, evaluate, recorder) -> None:
    """Fine-tunes a copy of the deployed policy on the proxy reward alone, and records its bad acts and true return."""

    def visit(update: int, relearned: agents.BlockPolicy) -> None:
        recorder.metrics(update, relearning_metrics(evaluate(relearned)))

    changes = {"method": relearning_method(config.method), "seed": config.seed + RELEARNING_SEED, "start": ""}
    env, model = build_learner(config.model_copy(update=changes))
    agents.relearn(model, policy, use, config.relearn_updates, visit)
    env.close()


def relearning_metrics(evaluation: agents.Evaluation) -> dict[str, float]:
    """The bad acts, if the world declares any, and the true return of a policy that is fine-tuned."""
    acts = evaluation.bad_acts
    counted = {} if acts is None else {"relearning/bad_acts": acts.total}
    return {**counted, "relearning/true_return": evaluation.true_return}


class CheckpointEvaluator:
    """Evaluates the policy during training; keeps its curve and the checkpoint that each deployment rule selects."""

    def __init__(self, policy, evaluate, deployments, recorder: Recorder) -> None:
        self.policy, self.evaluate, self.recorder = policy, evaluate, recorder
        self.uses = agents.RuleUses(evaluate)
        self.choices = [agents.CheckpointChoice(deployment) for deployment in deployments]
        self.curve: list[tuple[int, dict[str, float]]] = []

    def visit(self, step: int, metrics: dict[str, float]) -> None:
        """Evaluates the policy after `step` steps, offers it to each deployment rule, and records the metrics."""
        self.uses.start(self.policy, [choice.deployment for choice in self.choices])
        metrics |= checkpoint_metrics(
            self.policy, self.evaluate, self.uses.use(self.policy, self.choices[0].deployment)
        )
        for choice in self.choices:
            choice.consider(step, metrics, self.policy.state_dict())
        self.curve.append((step, metrics))
        self._report(step, metrics)

    def _report(self, step: int, metrics: dict[str, float]) -> None:
        self.recorder.metrics(step, metrics)
        self.recorder.progress(step, metrics["eval/true_return"])

    def snapshot(self) -> dict[str, Any]:
        """Returns the curve and the selected checkpoints as plain data."""
        choices = [choice.snapshot() for choice in self.choices]
        return {"choices": choices, "curve": self.curve, "untrained": self.uses.untrained}

    def restore(self, state: dict[str, Any]) -> None:
        """Restores a snapshot and records the whole curve again, because the last points may not have been written."""
        for choice, snapshot in zip(self.choices, state["choices"], strict=True):
            choice.restore(snapshot)
        self.uses.untrained = state.get("untrained")  # files of earlier versions lack it
        self.curve = [(step, metrics) for step, metrics in state["curve"]]
        for step, metrics in self.curve:
            self._report(step, metrics)
        self.recorder.tags({"resumed": f"from step {self.curve[-1][0]}"})


def checkpoint_metrics(policy, evaluate, use) -> dict[str, float]:
    """What is known of the policy deployed by the first rule, and the true return of the whole policy.

    The estimation errors are left out where they are not computed.
    """
    uses = list(dict.fromkeys([use, agents.BlockUse()]))
    deployed, whole = (evaluate.each(policy, uses) * 2)[:2]
    return {
        "eval/true_return": deployed.true_return,
        "eval/true_return/seen": deployed.true_return_seen,
        "eval/true_return/unseen": deployed.true_return_unseen,
        "eval/true_return/whole": whole.true_return,
        **_unless_nan("eval/true_return/stderr", deployed.true_return_stderr),
        "eval/proxy_return": deployed.proxy_return,
        "eval/episode_length": deployed.episode_length,
        **belief_metrics(deployed),
        **bad_act_metrics(deployed),
    }


def _unless_nan(name: str, value: float) -> dict[str, float]:
    return {} if math.isnan(value) else {name: value}


def belief_metrics(evaluation: agents.Evaluation) -> dict[str, float]:
    """What an overseer believes of a policy, and the rates of the outcomes of episodes; without nan values."""
    values = {
        "eval/believed_return": evaluation.believed_return,
        "eval/overestimation": evaluation.overestimation,
        "eval/underestimation": evaluation.underestimation,
        **{outcome_metric(name): rate for name, rate in evaluation.outcomes.items()},
    }
    return {name: value for name, value in values.items() if not math.isnan(value)}


def bad_act_metrics(evaluation: agents.Evaluation) -> dict[str, float]:
    """The expected numbers of bad acts and bad verdicts; none in a world that declares no bad acts."""
    acts = evaluation.bad_acts
    if acts is None:
        return {}
    return {
        "eval/bad_acts": acts.total,
        "eval/bad_acts/monitored": acts.monitored,
        "eval/bad_acts/unmonitored": acts.unmonitored,
        "eval/bad_verdicts": acts.verdicts,
        "eval/retained_return": acts.retained_return,
        **{bad_act_metric(kind): number for kind, number in acts.kinds.items()},
    }


def block_metrics(policy, evaluate) -> dict[str, float]:
    """The true return and the bad acts of the final policy with each of its blocks ablated."""
    blocks = [block for block in policy.blocks if next(policy.block_parameters(block), None) is not None]
    evaluations = evaluate.each(policy, [agents.BlockUse(without=frozenset([block])) for block in blocks])
    values = dict(zip(blocks, evaluations, strict=True))
    acts = {f"eval/bad_acts/without_{block}": e.bad_acts.total for block, e in values.items() if e.bad_acts}
    return {f"eval/true_return/without_{block}": e.true_return for block, e in values.items()} | acts


def scale_metrics(evaluation: agents.Evaluation) -> dict[str, float]:
    """What is known of the last policy at one scale of its forget experts."""
    values, acts = {"scale/true_return": evaluation.true_return}, evaluation.bad_acts
    if acts is None:
        return values
    return values | {
        "scale/bad_acts/monitored": acts.monitored,
        "scale/bad_acts/unmonitored": acts.unmonitored,
        "scale/bad_verdicts": acts.verdicts,
        "scale/retained_return": acts.retained_return,
    }


def selected_metrics(policy, use, evaluate, choice) -> dict[str, float]:
    """The true return and the bad acts of the checkpoint that a deployment rule selected, deployed by that rule."""
    name = choice.deployment.name
    (final,) = evaluate.each(policy, [use])
    return {
        f"selected/true_return/{name}": final.true_return,
        f"selected/true_return_seen/{name}": final.true_return_seen,
        f"selected/true_return_unseen/{name}": final.true_return_unseen,
        **_unless_nan(f"selected/true_return_stderr/{name}", final.true_return_stderr),
        f"selected/step/{name}": choice.step,
        **(selected_bad_acts(final.bad_acts, name) if final.bad_acts else {}),
    }


def selected_bad_acts(acts: agents.BadActs, rule: str) -> dict[str, float]:
    """The bad acts of the checkpoint that a deployment rule selected, deployed by that rule."""
    return {
        f"selected/bad_acts/{rule}": acts.total,
        f"selected/bad_acts_monitored/{rule}": acts.monitored,
        f"selected/bad_acts_unmonitored/{rule}": acts.unmonitored,
        f"selected/bad_verdicts/{rule}": acts.verdicts,
        f"selected/retained_return/{rule}": acts.retained_return,
    }


def _channel(world) -> dict[str, str]:
    """The tags `knowledge`, what the agent observes of the overseer, and `audits`, their probability, if any."""
    knowledge = getattr(world, "knowledge", "")
    audits = {"audits": f"{world.oversight_prob:g}"} if getattr(world, "audits_hidden", False) else {}
    return audits | ({"knowledge": knowledge} if knowledge else {})


def _deployment_tags(choices) -> dict[str, str]:
    """The tags that list the deployment rules and the leaky ones among them."""
    rules = [choice.deployment for choice in choices]
    leaky = [rule.name for rule in rules if rule.leaky]
    return {"deployments": ",".join(rule.name for rule in rules), "leaky": ",".join(leaky)}
