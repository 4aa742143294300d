import copy
import pickle

import pytest
import torch

import agents
from agents import BlockPolicy, BlockUse, make_vec_env
from routing import BLOCKS, audit, moved, snapshot


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


def test_without_both_experts_the_logits_are_the_heads_bias(policy, obs):
    rows = logits(policy, obs, without=("retain", "forget"))
    torch.testing.assert_close(rows, rows[:1].expand_as(rows))


def test_without_its_gate_the_policy_mixes_half_and_half(policy, obs):
    assert torch.equal(logits(policy, obs, without=("gate",)), logits(policy, obs, scales=(0.5, 0.5)))


def test_deployment_ends_with_its_context_even_after_an_error(policy, obs):
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


def schedule(progress: float) -> float:
    return 1e-2


def make_policy(env, network: str, level: str) -> BlockPolicy:
    torch.manual_seed(0)
    kwargs = {"network": network, "level": level, "net_arch": {"pi": [16, 16], "vf": [16, 16]}}
    spaces = env.observation_space, env.action_space
    policy = BlockPolicy(*spaces, schedule, **kwargs).double()
    policy.action_net.weight.data.normal_()
    for name, parameter in policy.named_parameters():
        if "adapters" in name:
            parameter.data.normal_()
    return policy


@pytest.fixture
def env():
    return make_vec_env("envs:keyhole/DiamondGhost-v0", 4, size=3)


ACTIONS = torch.arange(32) % 4
MASKS = torch.tensor([[1, 0, 0], [0, 1, 0], [1, 1, 1], [0.5, -2, 0.25]]).repeat(8, 1).double()


def outputs(policy, obs, masks=None) -> tuple[torch.Tensor, torch.Tensor]:
    """As `evaluate_actions`, in double precision; `evaluate_actions` converts observations to float32."""
    blocks, features = policy.mlp_extractor, obs.flatten(1).double()
    distribution = policy._get_action_dist_from_latent(blocks.forward_actor(features, masks))
    return policy.value_net(blocks.forward_critic(features)), distribution.log_prob(ACTIONS)


def gradients(policy, obs, masks=None) -> dict[str, torch.Tensor]:
    policy.zero_grad()
    values, log_prob = outputs(policy, obs, masks)
    (values.squeeze(-1) + log_prob).square().sum().backward()
    return {name: p.grad.clone() for name, p in policy.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("network", ["gated", "ungated"])
def test_masks_on_parameters_and_on_activations_of_whole_experts_give_equal_gradients(env, obs, network):
    """So masks on parameters need no arm of their own: no parameter is upstream of the experts."""
    found = [gradients(make_policy(env, network, level), obs, MASKS) for level in ("activation", "parameter")]
    plain = gradients(make_policy(env, network, "activation"), obs, torch.ones(32, 3).double())
    for name, gradient in found[0].items():
        torch.testing.assert_close(gradient, found[1][name], rtol=1e-12, atol=1e-14)
    assert any(not torch.equal(gradient, plain[name]) for name, gradient in found[0].items())


@pytest.mark.parametrize(
    ("network", "level"), [("gated", "activation"), ("gated", "parameter"), ("adapters", "parameter")]
)
def test_forward_is_bit_identical_under_masks_unless_the_level_ablates(env, obs, network, level):
    policy = make_policy(env, network, level)
    plain, routed = outputs(policy, obs), outputs(policy, obs, MASKS)
    assert all(torch.equal(x, y) for x, y in zip(plain, routed, strict=True))


@pytest.mark.parametrize(
    ("network", "level"),
    [("gated", "activation"), ("gated", "parameter"), ("gated", "forward_ablated"), ("adapters", "parameter")],
)
def test_unit_masks_change_no_bit_of_any_gradient_at_any_level(env, obs, network, level):
    policy = make_policy(env, network, level)
    with_ones = gradients(policy, obs, torch.ones(32, 3).double())
    assert all(torch.equal(with_ones[name], gradient) for name, gradient in gradients(policy, obs).items())


def test_forward_ablated_samples_act_as_without_the_forget_expert(env, obs):
    policy = make_policy(env, "gated", "forward_ablated")
    log_prob, whole = outputs(policy, obs, MASKS)[1], outputs(policy, obs)[1]
    with policy.deployed(without=["forget"]):
        ablated = outputs(policy, obs)[1]
    good = MASKS[:, 1] == 0
    assert torch.equal(log_prob[good], ablated[good])
    assert torch.equal(log_prob[~good], whole[~good])


def test_adapters_share_a_frozen_base_and_each_learns_from_its_own_samples(env, obs):
    policy = make_policy(env, "adapters", "parameter")
    regions = policy.mlp_extractor.regions
    before = snapshot(regions)
    base = [p for name, p in policy.named_parameters() if ".base." in name]
    frozen = [p.clone() for p in base]
    for _ in range(3):
        gradients(policy, obs, torch.tensor([[1.0, 0, 0]]).repeat(32, 1).double())
        policy.optimizer.step()
    change = moved(before, snapshot(regions))
    assert change["forget"] == 0
    assert change["retain"] > 0
    assert len(base) == 4
    assert all(torch.equal(p, q) for p, q in zip(base, frozen, strict=True))


def test_adapters_start_without_effect_and_are_deployed_separately(env, obs):
    kwargs = {"network": "adapters", "level": "parameter", "net_arch": {"pi": [16, 16], "vf": [16, 16]}}
    policy = BlockPolicy(env.observation_space, env.action_space, schedule, **kwargs)
    assert torch.equal(logits(policy, obs), logits(policy, obs, scales=(0.0, 0.0)))
    policy = make_policy(env, "adapters", "parameter").float()
    alone = logits(policy, obs, scales=(1.0, 0.0))
    assert torch.equal(alone, logits(policy, obs, without=("forget",)))
    for parameter in policy.block_parameters("forget"):
        parameter.data.normal_()
    assert torch.equal(alone, logits(policy, obs, scales=(1.0, 0.0)))


@pytest.mark.parametrize("level", ["activation", "parameter"])
def test_no_gradient_leaks_into_a_block_whose_mask_is_zero(env, obs, level):
    """Checked by `routing.audit`: a sample that trains one block has no gradient in the others."""
    extractor = make_policy(env, "gated", level).mlp_extractor
    found = audit(
        extractor, extractor.router, obs.flatten(1).double(), torch.arange(32) % 3, loss=lambda out: out[0].sum()
    )
    assert found.leaks == []
    assert (found.routed.diagonal() > 0).all()


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda policy: pickle.loads(pickle.dumps(policy))])
def test_a_copied_policy_routes_its_own_parameters(env, obs, duplicate):
    policy = make_policy(env, "gated", "parameter")
    duplicated = duplicate(policy)
    expected = gradients(policy, obs, MASKS)
    policy.zero_grad()
    assert all(torch.equal(gradient, expected[name]) for name, gradient in gradients(duplicated, obs, MASKS).items())
    assert all(parameter.grad is None for parameter in policy.parameters())


@pytest.mark.parametrize(
    ("method", "network", "level"),
    [
        ("naive", "gated", "activation"),
        ("gradient_routing", "gated", "activation"),
        ("gradient_routing_ablated", "gated", "forward_ablated"),
        ("gradient_routing_adapter", "adapters", "parameter"),
        ("no_gate", "ungated", "activation"),
    ],
)
def test_a_method_gets_the_policy_that_it_declares(env, method, network, level):
    assert agents.build(env, method, 0).policy.architecture == (network, 2, "shared", level)


@pytest.mark.parametrize(
    ("network", "level"), [("gated", "activation"), ("ungated", "activation"), ("adapters", "parameter")]
)
def test_uses_computed_together_equal_each_use_alone(env, obs, network, level):
    policy, features = make_policy(env, network, level).float(), obs.flatten(1)
    uses = [BlockUse(), BlockUse((1.0, 0.0)), *(BlockUse(without=frozenset([block])) for block in policy.blocks)]
    for use, together in zip(uses, policy.log_probabilities(features, uses), strict=True):
        with policy.deployed(*use):
            torch.testing.assert_close(together, policy.get_distribution(obs).distribution.logits)
