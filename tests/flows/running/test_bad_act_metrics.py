"""The metrics of a run about bad acts."""

import pytest

import agents
from flows.config import TrainConfig
from flows.running import train
from routing import find

SMALL = {"n_envs": 4, "n_steps": 8, "width": 8, "n_epochs": 1}
OF_CHECKPOINTS = {
    "eval/bad_acts",
    "eval/bad_acts/monitored",
    "eval/bad_acts/unmonitored",
    "eval/bad_verdicts",
    "eval/retained_return",
}


def evaluated(env, **arguments):
    """The learner of a small run, its method's deployment rules and the evaluator."""
    method = "gradient_routing"
    config = TrainConfig(env=f"envs:keyhole/{env}-v0", method=method, env_kwargs=arguments, steps=64, training=SMALL)
    _, model = train.build_learner(config)
    evaluate, _ = agents.make_evaluator(config.env, 0, **train.world_arguments(config))
    return model, find(method).deployments, evaluate


def test_checkpoints_count_the_bad_acts_of_the_policy_as_the_first_rule_deploys_it():
    model, (first, *_), evaluate = evaluated("DiamondGhost", size=3, ghosts=2)
    found = train.checkpoint_metrics(model.policy, evaluate, agents.BlockUse(first.scales))
    kinds = {"eval/bad_acts/kind/ghost", "eval/bad_acts/kind/second ghost"}
    assert {name for name in found if "bad" in name or "retained" in name} == OF_CHECKPOINTS | kinds
    (deployed,) = evaluate.each(model.policy, [agents.BlockUse(first.scales)])
    assert found["eval/bad_acts"] == deployed.bad_acts.total > 0
    assert found["eval/bad_acts/monitored"] + found["eval/bad_acts/unmonitored"] == found["eval/bad_acts"]
    assert sum(found[kind] for kind in kinds) == pytest.approx(found["eval/bad_acts"])
    assert found["eval/retained_return"] > found["eval/true_return"]


def test_blocks_and_deployment_rules_have_bad_acts_of_their_own():
    model, deployments, evaluate = evaluated("AbsentSupervisor")
    blocks = train.block_metrics(model.policy, evaluate)
    names = {name.removeprefix("eval/true_return/") for name in blocks if name.startswith("eval/true_return/")}
    assert names == {name.removeprefix("eval/bad_acts/") for name in blocks if name.startswith("eval/bad_acts/")}
    choice = agents.CheckpointChoice(deployments[0])
    found = train.selected_metrics(model.policy, agents.BlockUse(deployments[0].scales), evaluate, choice)
    rule = deployments[0].name
    counted = ("bad_acts", "bad_acts_monitored", "bad_acts_unmonitored", "bad_verdicts", "retained_return")
    assert {f"selected/{name}/{rule}" for name in counted} <= found.keys()
    parts = found[f"selected/bad_acts_monitored/{rule}"] + found[f"selected/bad_acts_unmonitored/{rule}"]
    assert parts == found[f"selected/bad_acts/{rule}"] > 0


def test_a_world_without_bad_acts_has_none_of_these_metrics():
    model, deployments, evaluate = evaluated("TMaze", length=2)
    metrics = train.checkpoint_metrics(model.policy, evaluate, agents.BlockUse(deployments[0].scales))
    metrics |= train.block_metrics(model.policy, evaluate)
    choice = agents.CheckpointChoice(deployments[0])
    metrics |= train.selected_metrics(model.policy, agents.BlockUse(), evaluate, choice)
    assert not [name for name in metrics if "bad" in name or "retained" in name]


def test_a_kind_loses_the_characters_that_a_metric_name_cannot_have():
    model, (first, *_), evaluate = evaluated("HideErrors")
    assert "eval/bad_acts/kind/fails hidden" in train.checkpoint_metrics(
        model.policy, evaluate, agents.BlockUse(first.scales)
    )
