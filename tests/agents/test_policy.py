import pytest
import torch

import agents
from agents import make_vec_env
from routing import BLOCKS


@pytest.fixture
def policy():
    env = make_vec_env("envs:keyhole/DiamondGhost-v0", 4, size=3)
    policy = agents.build(env, "gradient_routing", 0).policy
    policy.action_net.weight.data.normal_()
    return policy


@pytest.fixture
def obs() -> torch.Tensor:
    return torch.randint(0, 2, (32, 5, 3, 3), generator=torch.Generator().manual_seed(0)).float()


def logits(policy, obs, **deployment) -> torch.Tensor:
    with policy.deployed(**deployment):
        return policy.get_distribution(obs).distribution.logits


def test_deployed_retain_alone_ignores_the_forget_expert_and_the_gate(policy, obs):
    before = logits(policy, obs, scales=(1.0, 0.0))
    for name in ("forget", "gate"):
        for parameter in policy.block_parameters(name):
            parameter.data.normal_()
    assert torch.equal(before, logits(policy, obs, scales=(1.0, 0.0)))


def test_without_both_experts_nothing_but_the_heads_bias_is_left(policy, obs):
    rows = logits(policy, obs, without=("retain", "forget"))
    torch.testing.assert_close(rows, rows[:1].expand_as(rows))


def test_without_its_gate_the_policy_mixes_half_and_half(policy, obs):
    assert torch.equal(logits(policy, obs, without=("gate",)), logits(policy, obs, scales=(0.5, 0.5)))


def test_deployment_ends_with_its_context_even_by_an_error(policy, obs):
    before = logits(policy, obs)
    with pytest.raises(ZeroDivisionError), policy.deployed((1.0, 0.0)):
        _ = 1 / 0
    assert torch.equal(before, logits(policy, obs))


def test_gated_policy_lies_between_its_experts(policy, obs):
    features = policy.extract_features(obs)
    gate, rest = policy.mlp_extractor.coefficients(features)
    torch.testing.assert_close(gate + rest, torch.ones_like(gate))
    latents = [expert(features) for expert in policy.mlp_extractor.experts.values()]
    mixed = policy.mlp_extractor.forward_actor(features)
    torch.testing.assert_close(mixed, gate * latents[0] + rest * latents[1])


def test_every_parameter_belongs_to_one_block_or_is_declared_shared(policy):
    owned = [id(p) for name in BLOCKS for p in policy.block_parameters(name)]
    shared = [name for name, p in policy.named_parameters() if id(p) not in owned]
    assert len(owned) == len(set(owned))
    assert {name.split(".")[0] for name in shared} == {"mlp_extractor", "action_net", "value_net"}
    assert all(name.startswith("mlp_extractor.critic") for name in shared if "extractor" in name)
