"""Agents with an LSTM in each block train as sb3-contrib's RecurrentPPO; masks and filters act on steps."""

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Discrete
from sb3_contrib import RecurrentPPO
from sb3_contrib.common.recurrent.buffers import RecurrentRolloutBuffer
from sb3_contrib.common.recurrent.policies import RecurrentActorCriticPolicy
from sb3_contrib.common.recurrent.type_aliases import RNNStates

import agents
from agents.learners.recurrent_buffer import RoutedRecurrentBuffer
from agents.learners.recurrent_ppo import RoutedRecurrentPPO
from agents.policies.recurrent import RecurrentBlockPolicy
from agents.saving.run_state import pack, restore_learner, snapshot_learner, unpack
from routing import BLOCKS, untreated

ENV = "envs:keyhole/TMaze-v0"
MAZE = {"length": 2, "oversight_prob": 0.5, "max_episode_steps": 6}
SMALL = {"lstm_hidden_size": 4, "net_arch": {"pi": [8], "vf": [8]}}
SETTINGS = {"n_steps": 16, "batch_size": 96, "n_epochs": 2, "seed": 3, "device": "cpu", "gamma": 0.97}
LOSS = {"ent_coef": 0.01, "vf_coef": 0.3, "max_grad_norm": 0.5}


def copies(n=12, **changed):
    return agents.make_vec_env(ENV, n, **MAZE | changed)


def learner(method="proxy", **changed):
    settings = SETTINGS | {"max_grad_norm": None, "policy_kwargs": SMALL} | changed
    return RoutedRecurrentPPO(RecurrentBlockPolicy, copies(), method=method, **settings)


def equal(one, other):
    return all(torch.equal(x, y) for x, y in zip(one.policy.parameters(), other.policy.parameters(), strict=True))


@pytest.mark.parametrize("overseen", [True, False])
def test_untreated_it_equals_recurrent_ppo_bit_for_bit(overseen):
    def env():
        return copies() if overseen else "CartPole-v1"

    arguments = {**SETTINGS, **LOSS, "policy_kwargs": SMALL}
    fresh = RecurrentPPO(RecurrentBlockPolicy, env(), **arguments)
    initial = [parameter.clone() for parameter in fresh.policy.parameters()]
    # learn before building the other: building seeds the global generator that both draw from
    ours = RoutedRecurrentPPO(RecurrentBlockPolicy, env(), method="proxy", **arguments).learn(600)
    theirs = RecurrentPPO(RecurrentBlockPolicy, env(), **arguments).learn(600)
    assert equal(ours, theirs)
    assert isinstance(ours.rollout_buffer, RoutedRecurrentBuffer if overseen else RecurrentRolloutBuffer)
    assert not any(torch.equal(x, y) for x, y in zip(initial, ours.policy.parameters(), strict=True))


def sequences(policy, count=3, length=5, seed=0):
    """Observations, actions, states and starts of sequences of which the first begins with an episode."""
    draws = np.random.default_rng(seed)
    obs = torch.as_tensor(draws.integers(0, 2, (count * length, 5)), dtype=torch.float32)
    actions = torch.as_tensor(draws.integers(0, 4, count * length))
    shape = (len(policy.blocks), count, policy.lstm_output_dim)
    state = tuple(torch.as_tensor(draws.normal(size=shape)).float() for _ in range(4))
    starts = torch.zeros(count * length, dtype=torch.float32)
    starts[0] = 1
    return obs, actions, RNNStates(state[:2], state[2:]), starts


def block_policy(**changed):
    policy = RecurrentBlockPolicy(Box(0, 1, (5,)), Discrete(4), lambda _: 1e-3, **SMALL, **changed)
    for parameter in policy.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return policy


@pytest.mark.parametrize("head", ["shared", "per_expert"])
def test_masks_weight_the_gradient_of_each_steps_loss_in_each_block_through_all_earlier_steps(head):
    torch.manual_seed(0)
    policy = block_policy(head=head)
    inputs = sequences(policy)
    masks = torch.as_tensor(np.random.default_rng(1).normal(size=(15, 3))).float()

    def gradients(masks, rows):
        policy.zero_grad()
        policy.evaluate_actions(*inputs, masks).log_prob[rows].sum().backward()
        return [
            torch.cat([torch.zeros(p.numel()) if p.grad is None else p.grad.flatten() for p in parameters])
            for parameters in (list(policy.block_parameters(name)) for name in BLOCKS)
        ]

    loop = [gradients(None, [i]) for i in range(15)]
    for m, gradient in enumerate(gradients(masks, slice(None))):
        torch.testing.assert_close(gradient, sum(masks[i, m] * loop[i][m] for i in range(15)), rtol=1e-4, atol=1e-5)
        assert gradient.norm() > 1e-3


def test_each_block_owns_its_core_and_its_state():
    policy = block_policy()
    obs, _, states, starts = sequences(policy)
    before = policy.get_distribution(obs, states.pi, starts)[0].distribution.logits
    owned = {id(p) for name in BLOCKS for p in policy.block_parameters(name)}
    assert {id(p) for p in policy.lstm_actor.parameters()} <= owned
    assert {id(p) for p in policy.lstm_critic.parameters()} <= {id(p) for p in policy.critic_parameters()}
    with torch.no_grad():
        for parameter in policy.lstm_actor.cores["forget"].parameters():
            parameter.add_(1.0)
    with policy.deployed(without=["forget"]):
        ablated = policy.get_distribution(obs, states.pi, starts)[0].distribution.logits
        with torch.no_grad():
            for parameter in policy.lstm_actor.cores["forget"].parameters():
                parameter.add_(1.0)
        assert torch.equal(ablated, policy.get_distribution(obs, states.pi, starts)[0].distribution.logits)
    assert not torch.equal(before, policy.get_distribution(obs, states.pi, starts)[0].distribution.logits)


def test_one_call_along_sequences_equals_a_step_at_a_time():
    policy = block_policy()
    obs, _, states, starts = sequences(policy)
    features = policy.extract_features(obs)
    together, after = policy._process_sequence(features, states.pi, starts, policy.lstm_actor)
    stepwise, same = RecurrentActorCriticPolicy._process_sequence(features, states.pi, starts, policy.lstm_actor)
    torch.testing.assert_close(together, stepwise)
    torch.testing.assert_close(after, same)
    starts[7] = 1  # in the middle of a sequence
    torch.testing.assert_close(
        policy._process_sequence(features, states.pi, starts, policy.lstm_actor)[0],
        RecurrentActorCriticPolicy._process_sequence(features, states.pi, starts, policy.lstm_actor)[0],
    )


def test_filtered_steps_train_nothing_but_stay_in_their_sequences():
    """Rewards and masks of filtered steps do not matter; their observations do, since later states depend on them."""

    def model(poison):
        def treat(rollout):
            treatment = untreated(rollout)
            treatment.weights[::2] = 0
            treatment.masks[::2] *= 1 - poison
            treatment.gate[::2] = poison
            return treatment

        found = learner()
        found.rollout_buffer.treat = treat
        return found.learn(192)

    clean = model(0)
    assert equal(clean, model(1))
    batch = next(iter(clean._minibatches()))
    assert len(batch.weights) < len(batch.observations.episode_starts)
    assert len(batch.weights) == len(batch.observations.rows) > 0


def test_a_block_that_no_step_trains_keeps_its_core():
    def treat(rollout):
        treatment = untreated(rollout)
        treatment.masks[..., 1] = 0
        return treatment

    model = learner()
    model.rollout_buffer.treat = treat
    before = {name: [p.clone() for p in model.policy.block_parameters(name)] for name in BLOCKS}
    model.learn(192)
    same = {
        name: all(torch.equal(x, y) for x, y in zip(before[name], model.policy.block_parameters(name), strict=True))
        for name in BLOCKS
    }
    assert same == {"retain": False, "forget": True, "gate": False}


def test_a_restored_learner_continues_bit_for_bit():
    straight = learner("gradient_routing").learn(576)
    first = learner("gradient_routing").learn(384)
    state = unpack(pack(snapshot_learner(first)))
    resumed = learner("gradient_routing")
    resumed._setup_learn(576)
    restore_learner(resumed, state)
    assert any(states.any() for states in resumed._last_lstm_states.pi)
    resumed.learn(192, reset_num_timesteps=False)
    assert equal(straight, resumed)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"algorithm": "reinforce"}, "needs --learner ppo, found reinforce"),
        ({"method": "routed_adapters"}, "does not support network 'adapters'; choose network gated, ungated or single"),
        ({"method": "label_conditioned"}, "does not support network 'conditioned'"),
        ({"method": "hard_experts"}, "does not support level 'hard'; choose level activation"),
        ({"method": "gradient_routing(level=parameter)"}, "does not support level 'parameter'"),
        ({"method": "distil_after_ablation"}, "does not support after=distil"),
        ({"precision": "bf16"}, "does not support precision 'bf16'; choose precision fp32"),
    ],
)
def test_what_an_lstm_does_not_support_is_refused_by_name(changed, message):
    arguments = {"algorithm": "ppo", "method": "gradient_routing", **changed}
    with pytest.raises(ValueError, match=message):
        agents.build(copies(2), seed=0, memory="lstm(4)", **arguments)


@pytest.mark.parametrize("method", ["gradient_routing", "filtering", "penalty", "naive(gate_loss=verdict)"])
def test_a_method_trains_saves_and_loads(method, tmp_path):
    model = agents.build(copies(), method, 0, algorithm="ppo", memory="lstm(4)", width=8, n_steps=8, batch_size=32)
    model.learn(192)
    world = MAZE | {"memory": "lstm(4)"}
    agents.save(tmp_path / "agent.zip", model.policy, ENV, world, method)
    agent = agents.load(tmp_path / "agent.zip")
    assert isinstance(agent.policy, RecurrentBlockPolicy)
    evaluate, exact = agents.make_evaluator(ENV, 0, episodes=64, **world)
    assert not exact
    assert evaluate(model.policy) == evaluate(agent.policy)
    with pytest.raises(ValueError, match=r"memory lstm\(4\), so its actions depend on earlier observations"):
        agent.act(np.zeros((2, 5)))
    assert agent.act(np.zeros((2, 5)), carried=agents.Carried(agent.policy, 2)).shape == (2,)


def test_an_episode_starts_with_an_empty_memory():
    policy = block_policy()
    obs = torch.ones(2, 5)
    carried = agents.Carried(policy, 2)
    first = carried.distribution(obs).distribution.probs
    later = carried.distribution(obs).distribution.probs
    assert not torch.allclose(first, later)
    carried.restart(np.array([True, False]))
    again = carried.distribution(obs).distribution.probs
    torch.testing.assert_close(again[0], first[0])
    assert not torch.allclose(again[1], first[1])


@pytest.mark.slow
def test_an_lstm_finds_its_way_through_the_maze_where_an_agent_without_memory_guesses():
    world = MAZE | {"memory": "lstm(8)", "max_episode_steps": 8}
    settings = {"n_steps": 16, "batch_size": 512, "width": 16, "learning_rate": 0.005, "ent_coef": 0.01, "gamma": 0.9}
    model = agents.build(
        agents.make_vec_env(ENV, 64, **world), "oracle", 0, algorithm="ppo", memory="lstm(8)", **settings
    )
    model.learn(24_000)
    evaluate, _ = agents.make_evaluator(ENV, 0, episodes=256, **world)
    assert evaluate(model.policy).true_return >= 0.95
