"""Random ablation removes as many units as the forget experts have, and nothing else."""

import copy

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Discrete

from agents import BlockPolicy, BlockUse
from agents.after.random_ablation import ablate_random

ROWS = torch.rand(16, 3, generator=torch.Generator().manual_seed(1))
WIDTH = 10


def make(**arguments) -> BlockPolicy:
    torch.manual_seed(0)
    arguments = {"net_arch": {"pi": [7, WIDTH], "vf": [4]}, **arguments}
    policy = BlockPolicy(Box(0, 1, (3,), np.float32), Discrete(4), lambda progress: 1e-3, **arguments)
    for parameter in policy.parameters():
        parameter.data.normal_()
    return policy


def ablate(policy: BlockPolicy, seed: int = 0) -> BlockPolicy:
    return ablate_random(policy, BlockUse(), None, None, seed)


def removed(policy: BlockPolicy) -> torch.Tensor:
    """(n, WIDTH) bool, hidden units of each expert whose outputs are 0 for all observations."""
    networks = policy.mlp_extractor.networks().values()
    return torch.stack([(network(policy.encode(ROWS)) == 0).all(0) for network in networks])


@pytest.mark.parametrize("head", ["shared", "per_expert", "frozen"])
@pytest.mark.parametrize(("network", "experts"), [("gated", 2), ("gated", 3), ("ungated", 2), ("ungated", 4)])
def test_exactly_as_many_units_are_0_as_the_forget_experts_have_and_nothing_else_changes(network, experts, head):
    policy = make(network=network, experts=experts, head=head)
    before = copy.deepcopy(policy.state_dict())
    ablated = ablate(policy)
    gone = removed(ablated)
    assert not removed(policy).any()
    assert int(gone.sum()) == (experts - 1) * WIDTH
    assert all(torch.equal(value, before[name]) for name, value in policy.state_dict().items())
    last = "0.2" if head == "per_expert" else "2"
    units = dict(zip(policy.mlp_extractor.networks(), gone, strict=True))
    for name, value in ablated.state_dict().items():
        block = next((block for block in units if f"experts.{block}.{last}." in name), None)
        if block is None:
            assert torch.equal(value, before[name]), name
        else:
            assert not value[units[block]].any()
            assert torch.equal(value[~units[block]], before[name][~units[block]])
    if network == "gated":
        assert torch.equal(ablated.gate_logits(ROWS), policy.gate_logits(ROWS))


def test_the_ablated_policy_acts_as_the_trained_one_with_these_units_at_0():
    policy = make()
    ablated = ablate(policy)
    gone = removed(ablated)
    features = policy.encode(ROWS)
    coefficients, networks = policy.mlp_extractor.coefficients(features), policy.mlp_extractor.networks().values()
    latents = [network(features) * ~units for network, units in zip(networks, gone, strict=True)]
    logits = policy.action_net(sum(c * latent for c, latent in zip(coefficients, latents, strict=True)))
    torch.testing.assert_close(ablated.log_probabilities(features)[0], torch.log_softmax(logits, 1))


def test_every_unit_is_equally_likely_and_the_seed_decides():
    policy, generator = make(), torch.get_rng_state()
    gone = torch.stack([removed(ablate(policy, seed)) for seed in range(150)]).float()
    assert torch.equal(generator, torch.get_rng_state())
    assert (gone.sum((1, 2)) == WIDTH).all()
    torch.testing.assert_close(gone.mean(0), torch.full((2, WIDTH), 0.5), atol=0.2, rtol=0)  # 4.9 standard errors
    assert torch.equal(removed(ablate(policy, 3)), removed(ablate(policy, 3)))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"network": "single"}, "network 'single' has none to compare with"),
        ({"network": "adapters", "level": "parameter"}, "network 'adapters' has none to compare with"),
        ({"activation_fn": torch.nn.Sigmoid}, "Sigmoid is not 0 at 0; use ReLU or Tanh"),
    ],
)
def test_policies_without_units_to_compare_are_refused_in_one_line(arguments, message):
    with pytest.raises(ValueError, match=message) as refusal:
        ablate(make(**arguments))
    assert "\n" not in str(refusal.value)
