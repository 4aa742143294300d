"""Runs that start from a saved agent, and what happens to their policy after training."""

import pytest
import torch

import agents
from flows.config import TrainConfig
from flows.errors import UserError
from flows.running.train import build_learner, deployed_policy, world_arguments
from flows.sweep.checks import check_run
from flows.tracking.cache_key import run_key

SMALL = {"n_envs": 4, "n_steps": 8, "width": 8, "n_epochs": 1}
WORLD = {"size": 3}
SINGLE = "naive(network=single(expert))"


def config(method: str, **changes) -> TrainConfig:
    return TrainConfig(method=method, env_kwargs=WORLD, steps=64, training=SMALL, **changes)


@pytest.fixture
def agent(tmp_path):
    """The file of a policy that was trained a little."""
    trained = config(SINGLE, seed=7)
    _, model = build_learner(trained)
    model.learn(64)
    path = tmp_path / "agent.zip"
    agents.save(path, model.policy, trained.env, world_arguments(trained), SINGLE)
    return path


@pytest.mark.parametrize("method", [SINGLE, "gradient_routing", "gradient_routing(network=gated(3))"])
def test_every_arm_starts_as_the_agent_acts(agent, method):
    _, model = build_learner(config(method, start=str(agent), seed=1))
    observations = model.known_observations()
    started, source = model.policy, agents.load(agent).policy
    torch.testing.assert_close(
        agents.action_probabilities(started, observations), agents.action_probabilities(source, observations)
    )
    assert torch.equal(started.value_net.weight, source.value_net.weight)


def test_a_run_has_another_key_once_the_agent_that_it_starts_from_changes(agent):
    key = run_key(config(SINGLE, start=str(agent)), "code")
    assert run_key(config(SINGLE, start=str(agent)), "code") == key
    agent.write_bytes(agent.read_bytes() + b" ")
    assert run_key(config(SINGLE, start=str(agent)), "code") != key


@pytest.mark.parametrize(
    ("method", "changes", "words"),
    [
        ("naive(network=single)", {}, "widths"),
        ("gradient_routing(head=per_expert)", {"env_kwargs": {"size": 4}}, "observation"),
    ],
)
def test_an_arm_that_cannot_start_from_the_agent_is_refused_in_one_line(agent, method, changes, words):
    with pytest.raises(UserError, match=words) as refused:
        check_run(config(method, start=str(agent)).model_copy(update=changes))
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("after", ["distil(2)", "ablate_random"])
def test_what_happens_after_training_leaves_a_policy_that_is_deployed_whole(after, tmp_path):
    from routing import find

    trained = config(f"gradient_routing(after={after})")
    _, model = build_learner(trained)
    choice = agents.CheckpointChoice(find(trained.method).deployments[0])
    choice.consider(0, {}, model.policy.state_dict())
    policy, use, _ = deployed_policy(trained, model, choice, agents.RuleUses(None))
    assert policy is not model.policy
    assert use == agents.BlockUse()
    agents.save(tmp_path / "agent.zip", policy, trained.env, world_arguments(trained), trained.method)
    assert agents.load(tmp_path / "agent.zip").deployments == dict.fromkeys(("retain", "whole"), agents.BlockUse())
