"""Units whose output is the same for every observation are counted, in each expert and the gate."""

import pytest
import torch
from torch import nn

import agents
from agents.dead_units import counting_dead_units
from agents.policies.blocks import ACTIVATIONS

ENV = "envs:keyhole/TMaze-v0"
MAZE = {"length": 2, "max_episode_steps": 6}


def learner(method="gradient_routing", memory="none", **settings):
    world = agents.make_vec_env(ENV, 4, memory=memory, **MAZE)
    return agents.build(world, method, 0, width=8, n_steps=8, memory=memory, **settings)


def counted(policy, memory="none", episodes=16):
    evaluate, _ = agents.make_evaluator(ENV, 0, episodes, memory=memory, **MAZE)
    with counting_dead_units(policy) as dead:
        evaluate.each(policy, [agents.BlockUse()])
    return dead


def kill(network, bias):
    """Makes the units of the last hidden layer independent of their input."""
    last = [layer for layer in network if isinstance(layer, nn.Linear)][-1]
    nn.init.zeros_(last.weight)
    nn.init.constant_(last.bias, bias)


@pytest.mark.parametrize(("activation", "bias"), [("relu", -1.0), ("tanh", 30.0), ("tanh", -30.0)])
@pytest.mark.parametrize("memory", ["none", "frames(2)", "lstm(3)"])
def test_a_block_whose_units_ignore_the_observation_is_dead_and_the_others_are_not(activation, bias, memory):
    algorithm = "ppo" if memory.startswith("lstm") else "reinforce"
    policy = learner(memory=memory, activation=activation, algorithm=algorithm).policy
    assert set(counted(policy, memory)) == {"retain", "forget", "gate"}
    assert max(counted(policy, memory).values()) < 1
    kill(policy.mlp_extractor.networks()["forget"], bias)
    dead = counted(policy, memory)
    assert dead["forget"] == 1
    assert max(dead["retain"], dead["gate"]) < 1


def test_the_share_is_that_of_the_units():
    policy = learner("oracle", activation="tanh").policy
    assert counted(policy)["retain"] == 0
    last = policy.mlp_extractor.networks()["retain"][2]
    with torch.no_grad():
        last.weight[:2] = 0
    assert counted(policy)["retain"] == 2 / 8


def test_one_observation_shows_nothing():
    policy = learner().policy
    obs = torch.ones(5, 5)
    with counting_dead_units(policy) as dead:
        policy.get_distribution(obs)
    assert dead == {}
    with counting_dead_units(policy) as dead:
        policy.get_distribution(torch.eye(5))
    assert set(dead) == {"retain", "forget", "gate"}


def test_nothing_is_left_on_the_policy_after_an_exception():
    policy = learner().policy
    with pytest.raises(KeyError), counting_dead_units(policy):
        raise KeyError
    assert not any(module._forward_hooks for module in policy.mlp_extractor.networks().values())


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("method", ["oracle", "gradient_routing", "routed_adapters", "label_conditioned"])
def test_an_activation_is_that_of_all_hidden_layers_and_is_saved(method, activation, tmp_path):
    policy = learner(method, activation=activation).policy
    found = {type(module) for module in policy.modules()} & set(ACTIVATIONS.values())
    assert found == {ACTIVATIONS[activation]}
    assert set(counted(policy)) == set(policy.mlp_extractor.networks()) | ({"gate"} & set(policy.blocks))
    agents.save(tmp_path / "agent.zip", policy, ENV, MAZE, method)
    loaded = agents.load(tmp_path / "agent.zip").policy
    torch.testing.assert_close(
        loaded.get_distribution(torch.eye(5)).distribution.probs,
        policy.get_distribution(torch.eye(5)).distribution.probs,
    )
    assert loaded.activation_fn is ACTIVATIONS[activation]


def test_another_activation_is_refused_in_one_line():
    with pytest.raises(ValueError, match=r"unknown activation 'tan'.*did you mean 'tanh'") as error:
        learner(activation="tan")
    assert "\n" not in str(error.value)
