"""Episodes in which the deployed policy acts during training."""

import numpy as np
import pytest
import torch

import agents
from agents import build, make_vec_env
from agents.acting import ActingCoins
from routing import BLOCKS, find

ENV = "envs:keyhole/DiamondGhost-v0"
SETTINGS = {"n_steps": 8, "batch_size": 256, "n_epochs": 2, "width": 8, "learning_rate": 0.01}
LEARNERS = ["reinforce", "ppo"]
HALF = "gradient_routing(acting=deployed)"


def learner(method: str, algorithm: str, copies: int = 32, **changes):
    env = make_vec_env(ENV, copies, size=3, oversight_prob=0.4)
    return build(env, method, 1, algorithm=algorithm, **SETTINGS | changes)


def vector(model) -> torch.Tensor:
    return torch.nn.utils.parameters_to_vector(model.policy.parameters()).detach()


@pytest.mark.parametrize(
    ("algorithm", "changes"),
    [
        ("ppo", {}),
        ("reinforce", {"by_tables": False}),
        ("reinforce", {"by_tables": False, "n_epochs": 1}),
        ("reinforce", {}),
    ],
)
def test_where_the_whole_policy_is_deployed_it_changes_nothing_who_acts(algorithm, changes):
    whole, half = (
        vector(learner(f"gradient_routing(deploy=whole,acting={acting})", algorithm, **changes).learn(1024))
        for acting in ("whole", "deployed")
    )
    if algorithm == "ppo" or changes == {"by_tables": False}:
        assert torch.equal(whole, half)
    else:  # two tables have other batches than one, and no graph of acting is reused
        torch.testing.assert_close(whole, half, rtol=1e-3, atol=1e-4)


def test_the_deployed_policy_acts_where_it_won_the_toss_and_its_log_probabilities_are_stored():
    model = learner(HALF, "ppo", learning_rate=0.0)
    policy = model.policy
    policy.action_net.weight.data.normal_()
    tossed = []
    add = model.rollout_buffer.add

    def recording(*args, **kwargs):
        tossed.append(deployed.copy())
        add(*args, **kwargs)
        deployed[:] = model.coins.deployed

    deployed = model.coins.deployed.copy()
    model.rollout_buffer.add = recording
    model.learn(8 * 32)
    buffer, who = model.rollout_buffer, np.stack(tossed)
    assert 0.2 < who.mean() < 0.8
    observations = torch.as_tensor(buffer.observations.reshape(32, 8, *model.observation_space.shape)).transpose(0, 1)
    actions, log_probs = (torch.as_tensor(x.reshape(32, 8)).transpose(0, 1) for x in (buffer.actions, buffer.log_probs))
    for step in range(8):
        whole = policy.evaluate_actions(observations[step], actions[step].long()).log_prob
        with policy.deployed((1.0, 0.0)):
            alone = policy.evaluate_actions(observations[step], actions[step].long()).log_prob
        expected = torch.where(torch.as_tensor(who[step]), alone, whole)
        torch.testing.assert_close(log_probs[step], expected.detach())
        assert not torch.allclose(alone, whole)


@pytest.mark.parametrize("whole_episodes", [False, True])
def test_by_tables_each_policy_acts_on_its_own_rows(whole_episodes):
    model = learner(HALF, "reinforce", learning_rate=0.0, whole_episodes=whole_episodes)
    model.policy.action_net.weight.data.normal_()
    model.learn(8 * 32)
    count, live = len(model.inputs), model.trajectories.live
    second = model.looked_up[live] >= count
    assert 0.2 < second.mean() < 0.8
    np.testing.assert_array_equal(model.looked_up[live] % count, model.trajectories.observation[live])
    whole, alone = model.policy.log_probabilities(
        model.policy.encode(model.inputs), [agents.BlockUse(), agents.BlockUse((1.0, 0.0))]
    )
    found = torch.as_tensor(model.table.log_prob)
    looked_up = np.unique(model.looked_up[live])
    torch.testing.assert_close(found[looked_up], torch.cat([whole, alone])[looked_up])
    ends = np.diff(model.looked_up >= count, axis=0) & live[1:] & live[:-1]
    assert not (ends & ~model.trajectories.dones[:-1]).any()  # the policy changes between episodes only


def test_a_coin_is_kept_until_its_episode_ends_and_through_a_snapshot():
    coins = ActingCoins(agents.BlockUse(), 0.5, 1000, 0)
    before = coins.deployed.copy()
    assert 0.4 < before.mean() < 0.6
    ended = np.arange(1000) < 500
    state = coins.snapshot()
    coins.toss(ended)
    np.testing.assert_array_equal(coins.deployed[500:], before[500:])
    assert (coins.deployed[:500] != before[:500]).any()
    after = coins.deployed.copy()
    coins.restore(state)
    coins.toss(ended)
    np.testing.assert_array_equal(coins.deployed, after)


def test_a_policy_without_blocks_and_a_measured_rule_are_refused_in_one_line():
    env = make_vec_env(ENV, 4, size=2)
    with pytest.raises(ValueError, match="has no blocks for; use BlockPolicy"):
        agents.RoutedPPO("MlpPolicy", env, method="proxy(deploy=retain,acting=deployed)")
    with pytest.raises(ValueError, match="deploy=measured is measured after training; put another rule first"):
        find("gradient_routing(acting=deployed,deploy=measured+retain)")
    with pytest.raises(ValueError, match="acting=deployed has share 0; use a probability above 0"):
        find("gradient_routing(acting=deployed(0))")


@pytest.mark.parametrize("algorithm", LEARNERS)
def test_progress_is_the_share_of_steps_done_before_each_rollout(algorithm):
    model = learner("gradient_routing", algorithm)
    found, treat = [], model.rollout_buffer.treat
    model.rollout_buffer.treat = lambda rollout: found.append(rollout.progress) or treat(rollout)
    model.learn(8 * 32 * 4)
    assert found == [0.0, 0.25, 0.5, 0.75]


@pytest.mark.parametrize("algorithm", LEARNERS)
def test_at_the_end_of_a_run_only_judged_episodes_train(algorithm):
    model = learner("gradient_routing(weights=judged_at_end(0.5))", algorithm)
    shares, treat = [], model.rollout_buffer.treat

    def recording(rollout):
        treatment = treat(rollout)
        shares.append(float((treatment.weights > 0).mean()))
        return treatment

    model.rollout_buffer.treat = recording
    model.learn(8 * 32 * 4)
    assert shares[:2] == [1.0, 1.0]
    assert all(0 < share < 1 for share in shares[2:])


@pytest.mark.parametrize("algorithm", LEARNERS)
def test_the_tuned_arm_moves_every_block(algorithm):
    model = learner("routing_tuned", algorithm)
    parameters = torch.nn.utils.parameters_to_vector
    before = {name: parameters(model.policy.block_parameters(name)).detach().clone() for name in BLOCKS}
    model.learn(8 * 32 * 8)
    for name, values in before.items():
        assert not torch.equal(values, parameters(model.policy.block_parameters(name)))
