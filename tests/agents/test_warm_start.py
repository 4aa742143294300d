"""A policy that starts from an agent acts as it, and its adapters and gate are fresh."""

import copy

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Discrete
from torch import nn

import agents
from agents import Agent, BlockPolicy, BlockUse

OBSERVATIONS, ACTIONS = Box(0, 1, (5,), np.float32), Discrete(4)
ROWS = torch.rand(16, 5, generator=torch.Generator().manual_seed(1))
WHOLE = BlockUse()
ARCH = {"pi": [12, 8], "vf": [6]}
NETWORKS = {
    "single": {"network": "single"},
    "gated": {},
    "gated3": {"experts": 3},
    "ungated": {"network": "ungated"},
    "conditioned": {"network": "conditioned"},
    "adapters": {"network": "adapters", "level": "parameter"},
    "adapters3": {"network": "adapters", "experts": 3, "level": "parameter"},
}


def make(seed: int = 0, spaces=(OBSERVATIONS, ACTIONS), **arguments) -> BlockPolicy:
    torch.manual_seed(seed)
    return BlockPolicy(*spaces, lambda progress: 1e-2, **{"net_arch": copy.deepcopy(ARCH), **arguments})


def agent(**arguments) -> Agent:
    """A trained agent, whose parameters are all random."""
    policy = make(1, **arguments)
    for parameter in policy.parameters():
        parameter.data.normal_()
    return Agent(policy, "x", {}, "naive", {"whole": WHOLE}, {})


def acts(policy: BlockPolicy, use=WHOLE) -> torch.Tensor:
    return policy.log_probabilities(ROWS, [use])[0]


def values(policy: BlockPolicy) -> torch.Tensor:
    return policy.predict_values(ROWS)


def gate(policy: BlockPolicy) -> torch.Tensor | None:
    return policy.gate_logits(ROWS) if policy.gated else None


@pytest.mark.parametrize("head", ["shared", "per_expert", "frozen"])
@pytest.mark.parametrize("name", NETWORKS)
def test_a_policy_of_the_same_parts_starts_as_the_agent(name, head):
    source, policy = agent(**NETWORKS[name], head=head), make(**NETWORKS[name], head=head)
    optimised = [id(p) for p in policy.optimizer.param_groups[0]["params"]]
    agents.warm_start(policy, source)
    assert all(torch.equal(value, policy.state_dict()[key]) for key, value in source.policy.state_dict().items())
    assert optimised == [id(p) for p in policy.optimizer.param_groups[0]["params"]]
    trained = {id(p) for p in policy.parameters()}
    assert set(optimised) <= trained
    assert not trained & {id(p) for p in source.policy.parameters()}


def test_the_level_and_the_precision_may_differ():
    policy, source = make(level="forward_ablated", precision="bf16"), agent()
    agents.warm_start(policy, source)
    assert all(torch.equal(value, policy.state_dict()[key]) for key, value in source.policy.state_dict().items())


@pytest.mark.parametrize("head", ["shared", "frozen"])
@pytest.mark.parametrize(
    ("source", "use"),
    [
        ("single", BlockUse()),
        ("gated", BlockUse((1.0, 0.0))),
        ("gated3", BlockUse((1.0, 0.0, 0.0))),
        ("ungated", BlockUse((1.0, 0.0))),
        ("adapters3", BlockUse((0.0, 0.0, 0.0))),
    ],
)
def test_adapters_start_on_the_agents_retain_expert_or_frozen_network(source, use, head):
    source, policy = agent(**NETWORKS[source]), make(**NETWORKS["adapters"], head=head)
    agents.warm_start(policy, source)
    torch.testing.assert_close(acts(policy), acts(source.policy, use))
    assert torch.equal(values(policy), values(source.policy))
    adapters = [layer.adapters.values() for layer in policy.mlp_extractor.experts if hasattr(layer, "adapters")]
    assert all(not adapter[1].weight.any() for layer in adapters for adapter in layer)
    trains = {name for name, parameter in policy.named_parameters() if not parameter.requires_grad}
    frozen = {name for name in policy.state_dict() if ".base." in name or (head == "frozen" and "action_net" in name)}
    assert trains == frozen


def test_adapters_start_from_the_retain_experts_own_head():
    source, policy = agent(head="per_expert"), make(**NETWORKS["adapters"])
    agents.warm_start(policy, source)
    torch.testing.assert_close(acts(policy), acts(source.policy, BlockUse((1.0, 0.0))))


@pytest.mark.parametrize(
    "heads", [("shared", "shared"), ("shared", "per_expert"), ("per_expert", "per_expert")], ids=str
)
@pytest.mark.parametrize("name", ["gated", "gated3", "ungated"])
def test_every_expert_starts_from_the_only_one_of_the_agent_and_the_gate_is_fresh(name, heads):
    source, policy = agent(network="single", head=heads[0]), make(**NETWORKS[name], head=heads[1])
    before = gate(policy)
    agents.warm_start(policy, source)
    torch.testing.assert_close(acts(policy), acts(source.policy))
    for expert in range(policy.experts):
        alone = BlockUse(tuple(float(i == expert) for i in range(policy.experts)))
        torch.testing.assert_close(acts(policy, alone), acts(source.policy))
    assert torch.equal(values(policy), values(source.policy))
    assert before is None or torch.equal(gate(policy), before)
    learned = [id(p) for block in policy.blocks for p in policy.block_parameters(block)]
    assert len(learned) == len(set(learned))  # the experts have equal but separate parameters


def test_continuous_actions_keep_their_deviation():
    spaces = OBSERVATIONS, Box(-1, 1, (2,))
    for arguments in ({"network": "single"}, {}):
        source, policy = agent(spaces=spaces, network="single"), make(spaces=spaces, **arguments)
        agents.warm_start(policy, source)
        assert torch.equal(policy.log_std, source.policy.log_std)


def test_a_network_that_reads_verdicts_starts_as_the_agent_of_one_network_with_every_code():
    source, policy = agent(network="single"), make(network="conditioned")
    agents.warm_start(policy, source)
    for use in (WHOLE, BlockUse((1.0, 0.0, 0.0)), BlockUse((0.0, 1.0, 0.0))):
        torch.testing.assert_close(acts(policy, use), acts(source.policy))


def test_a_policy_starts_from_an_agent_file_and_trains(tmp_path):
    world = {"size": 2, "oversight_prob": 0.3}
    env = agents.make_vec_env("envs:keyhole/DiamondGhost-v0", 8, **world)
    kwargs = {"net_arch": {"pi": [8, 8], "vf": [8]}}
    sizes = {"n_steps": 8, "batch_size": 64}
    single = agents.RoutedPPO(BlockPolicy, env, policy_kwargs={"network": "single", **kwargs}, **sizes)
    agents.save(tmp_path / "agent.zip", single.policy, "envs:keyhole/DiamondGhost-v0", world, "naive")
    learner = agents.RoutedPPO(
        BlockPolicy, env, method="naive", policy_kwargs={"network": "ungated", **kwargs}, **sizes
    )
    agents.warm_start(learner.policy, agents.load(tmp_path / "agent.zip"))
    started = copy.deepcopy(learner.policy.state_dict())
    assert torch.equal(started["value_net.weight"], single.policy.state_dict()["value_net.weight"])
    learner.learn(64)
    assert all(not torch.equal(value, started[name]) for name, value in learner.policy.state_dict().items())


@pytest.mark.parametrize(
    ("policy", "source", "message"),
    [
        ({}, {"network": "ungated"}, r"network 'gated' \(2 experts, head 'shared'\) cannot start from .* 'ungated'"),
        ({"experts": 3}, {}, r"\(3 experts, head 'shared'\) cannot start from an agent of network 'gated' \(2 experts"),
        (
            {"head": "frozen"},
            {},
            r"head 'frozen'\) cannot start from an agent of network 'gated' \(2 experts, head 'sh",
        ),
        ({"network": "single"}, {}, "or from one of network 'single'"),
        ({}, NETWORKS["adapters"], "cannot start from an agent of network 'adapters'"),
        (NETWORKS["adapters"], NETWORKS["conditioned"], "cannot start from an agent of network 'conditioned'"),
        (NETWORKS["conditioned"], {}, "network 'conditioned'.* cannot start from"),
        (
            {**NETWORKS["adapters"], "head": "per_expert"},
            {"network": "single"},
            "head 'per_expert'.* cannot start from",
        ),
        (
            {"net_arch": [12, 8]},
            {},
            r"widths is {'pi': \[12, 8\], 'vf': \[12, 8\]}, but the agent's is {'pi': \[12, 8\]",
        ),
        ({"net_arch": {"pi": [12], "vf": [6]}}, {}, r"widths is .* make them equal, or start from another agent"),
        ({"activation_fn": nn.ReLU}, {}, "activation is ReLU, but the agent's is Tanh"),
        (
            {"spaces": (OBSERVATIONS, Discrete(3))},
            {},
            r"action space is Discrete\(3\), but the agent's is Discrete\(4\)",
        ),
        ({"spaces": (Box(0, 1, (6,)), ACTIONS)}, {}, r"observation space is Box\(0.0, 1.0, \(6,\), float32\), but the"),
    ],
)
def test_a_policy_that_cannot_start_from_an_agent_is_refused_in_one_line_and_not_changed(policy, source, message):
    policy, source = make(**policy), agent(**source)
    before = copy.deepcopy(policy.state_dict())
    with pytest.raises(ValueError, match=message) as refusal:
        agents.warm_start(policy, source)
    assert "\n" not in str(refusal.value)
    assert all(torch.equal(value, before[name]) for name, value in policy.state_dict().items())
