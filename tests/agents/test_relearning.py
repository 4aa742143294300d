"""Fine-tuning a deployed policy on the proxy reward: what changes, what stays, and that it repeats exactly."""

import numpy as np
import pytest
import torch

import agents
from agents.policies.blocks import BlockUse
from agents.relearning import fix_use, relearn, relearning_method, visited_updates
from routing import find

WORLD = "envs:keyhole/DiamondGhost-v0"
RETAIN = BlockUse((1.0, 0.0))


def learner(method: str, seed: int = 0, algorithm: str = "reinforce", **settings) -> agents.RoutedPPO:
    env = agents.make_vec_env(WORLD, 32, oversight_prob=0.3)
    return agents.build(env, method, seed, algorithm=algorithm, n_steps=16, width=8, **settings)


def relearned(updates: int = 3, use: BlockUse = RETAIN, algorithm: str = "reinforce") -> tuple[list, list, dict]:
    """Visited updates, true returns there, and the parameters before and after."""
    policy = learner("gradient_routing", algorithm=algorithm).policy
    model = learner(relearning_method("gradient_routing"), seed=1, algorithm=algorithm)
    evaluate, _ = agents.make_evaluator(WORLD, 0, oversight_prob=0.3)
    visits, returns = [], []

    def visit(update: int, copy: agents.BlockPolicy) -> None:
        visits.append(update)
        returns.append(evaluate(copy).true_return)

    before = {name: value.clone() for name, value in policy.state_dict().items()}
    relearn(model, policy, use, updates, visit)
    assert all(torch.equal(value, policy.state_dict()[name]) for name, value in before.items())
    return visits, returns, {name: (before[name], value) for name, value in model.policy.state_dict().items()}


def test_the_method_of_fine_tuning_keeps_the_architecture_and_treats_nothing():
    arm = "gradient_routing(network=gated(3),head=per_expert,level=forward_ablated)"
    method = find(relearning_method(arm))
    assert (method.network.experts, method.value("head"), method.value("level")) == (3, "per_expert", "forward_ablated")
    assert {kind: name for kind, name in method.names if kind in ("reward", "masks", "weights", "gate_loss")} == {
        "reward": "proxy",
        "masks": "none",
        "weights": "one",
        "gate_loss": "none",
    }


@pytest.mark.parametrize(("updates", "expected"), [(1, [0, 1]), (3, [0, 1, 2, 3]), (8, [0, *range(1, 9)])])
def test_few_updates_are_all_visited(updates, expected):
    assert visited_updates(updates) == expected


def test_many_updates_are_visited_at_equal_ratios():
    visited = visited_updates(1000)
    assert (visited[0], visited[-1]) == (0, 1000)
    assert 20 <= len(visited) <= 26
    assert np.diff(np.log(visited[10:])) == pytest.approx(np.log(1000) / 24, rel=0.1)


@pytest.mark.parametrize("algorithm", ["reinforce", "ppo"])
def test_an_ablated_expert_and_the_gate_stay_and_the_deployed_expert_learns(algorithm):
    visits, returns, parameters = relearned(algorithm=algorithm)
    assert visits == [0, 1, 2, 3]
    assert returns[0] != returns[-1]
    moved = {name for name, (before, after) in parameters.items() if not torch.equal(before, after)}
    assert any(name.startswith("mlp_extractor.experts.retain") for name in moved)
    assert not [name for name in moved if name.startswith(("mlp_extractor.experts.forget", "mlp_extractor.gate"))]


def test_the_first_visit_is_of_the_policy_as_deployed():
    policy = learner("gradient_routing").policy
    evaluate, _ = agents.make_evaluator(WORLD, 0, oversight_prob=0.3)
    (deployed,) = evaluate.each(policy, [RETAIN])
    assert relearned(updates=1)[1][0] == pytest.approx(deployed.true_return, abs=1e-6)


def test_it_repeats_bit_for_bit():
    assert relearned()[1] == relearned()[1]


def test_a_fixed_use_holds_in_every_forward_pass():
    policy = learner("gradient_routing").policy
    observations = torch.as_tensor(learner("gradient_routing").known_observations()[:20])
    with policy.deployed(RETAIN.scales):
        expected = agents.action_probabilities(policy, observations)
    fix_use(policy, RETAIN)
    features, masks = policy.encode(observations), torch.ones(len(observations), 3)
    assert torch.allclose(policy.log_probabilities(features)[0].exp(), expected)
    log_prob = policy.evaluate_actions(observations, torch.zeros(len(observations)), masks).log_prob
    assert torch.allclose(log_prob.exp(), expected[:, 0])
