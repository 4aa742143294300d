"""The memory of an agent: how a user writes it, and agents with frames."""

import gymnasium
import numpy as np
import pytest
import torch

import agents
import envs
from agents.memory import AgentMemory, parse_memory

MAZE = {"length": 2, "oversight_prob": 0.3}
SETTINGS = {"n_steps": 16, "n_epochs": 4, "learning_rate": 0.012, "ent_coef": 0.03, "width": 16}


@pytest.mark.parametrize(
    ("text", "memory"),
    [("none", AgentMemory()), ("frames(3)", AgentMemory("frames", 3)), (" lstm( 64 ) ", AgentMemory("lstm", 64))],
)
def test_a_memory_is_read_and_written_in_one_form(text, memory):
    assert parse_memory(text) == memory == parse_memory(str(memory))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("lstm", r"has no W; write lstm\(W\)"),
        ("frames()", r"has no K; write frames\(K\)"),
        ("frames(0)", "is 0; choose a whole number from 1 to 100"),
        ("frames(1e9)", "is 1e9; choose"),
        ("lstm(-3)", "is -3; choose"),
        ("lstm(99999999999999999999)", "choose a whole number"),
        ("frames(K=3)", "is K=3; choose"),
        ("gru(3)", r"unknown memory 'gru'; one of"),
        ("none(3)", "has a number"),
        ("frames(3", "another form"),
        ("", "unknown memory ''"),
    ],
)
def test_another_memory_is_refused_in_one_line(text, message):
    with pytest.raises(ValueError, match=message) as error:
        parse_memory(text)
    assert "\n" not in str(error.value)


def trained(env="envs:keyhole/TMaze-v0", method="oracle", steps=40_000, copies=256, algorithm="reinforce", **arguments):
    world = agents.make_vec_env(env, copies, **arguments)
    model = agents.build(world, method, 0, algorithm=algorithm, **SETTINGS)
    return model.learn(steps)


def true_return(model, env="envs:keyhole/TMaze-v0", **arguments):
    evaluate, exact = agents.make_evaluator(env, 0, **arguments)
    assert exact
    return evaluate(model.policy).true_return


@pytest.mark.parametrize("algorithm", ["reinforce", "ppo"])
def test_one_frame_trains_as_no_memory_bit_for_bit(algorithm):
    few = {"steps": 600, "copies": 16, "algorithm": algorithm, "method": "gradient_routing", **MAZE}
    plain, framed = trained(**few), trained(**few, memory="frames(1)")
    for one, other in zip(plain.policy.parameters(), framed.policy.parameters(), strict=True):
        assert torch.equal(one, other)
    assert true_return(plain, **MAZE) == true_return(framed, memory="frames(1)", **MAZE)


def test_an_agent_with_frames_finds_its_way_where_one_without_memory_guesses():
    assert true_return(trained(**MAZE), **MAZE) == pytest.approx(0.5, abs=0.05)
    remembers = {**MAZE, "memory": "frames(3)"}
    assert true_return(trained(**remembers), **remembers) >= 0.95


def test_an_agent_with_two_frames_leaves_the_corridor_from_both_ends():
    """Without memory a stochastic policy is best, worth 10/11; with memory the second try goes the other way."""
    corridor, returns = "envs:keyhole/AliasedCorridor-v0", {}
    for memory in ("none", "frames(2)"):
        world = agents.make_vec_env(corridor, 256, memory=memory)
        settings = SETTINGS | {"n_steps": 8, "learning_rate": 0.003, "activation": "tanh"}
        model = agents.build(world, "oracle", 0, **settings).learn(300_000)
        returns[memory] = true_return(model, corridor, memory=memory)
    assert returns["none"] == pytest.approx(10 / 11, abs=0.002)
    assert returns["frames(2)"] == pytest.approx(0.95, abs=0.001)


def test_the_last_observation_of_an_episode_has_the_frames_of_that_episode():
    """Reward models read it."""
    model = trained(steps=300, copies=8, algorithm="ppo", method="reward_model", memory="frames(3)", **MAZE)
    tables = model.env.env.tabulate()
    shown = {tuple(row) for row in tables.view[len(tables.successor) :].tolist()}
    endings = np.concatenate(model.rollout_buffer.endings)
    assert {tuple(row) for row in endings.astype(int).tolist()} <= shown


def test_an_agent_with_frames_is_saved_with_its_memory(tmp_path):
    model = trained(steps=100, copies=8, memory="frames(3)", **MAZE)
    agents.save(tmp_path / "agent.zip", model.policy, "envs:keyhole/TMaze-v0", MAZE | {"memory": "frames(3)"}, "oracle")
    agent = agents.load(tmp_path / "agent.zip")
    world = agent.make_world(4)
    assert world.reset(seed=0)[0].shape == (4, 15)
    assert agent.act(world.reset(seed=0)[0]).shape == (4,)
    assert agent.world["memory"] == "frames(3)"


def test_bad_acts_are_counted_with_frames_as_without():
    ghost = {"size": 3, "oversight_prob": 0.5, "overseer": "recall(rate=0.5)"}
    values = []
    for memory in ("none", "frames(2)"):
        world = agents.make_vec_env("envs:keyhole/DiamondGhost-v0", 4, memory=memory, **ghost)
        evaluate, _ = agents.make_evaluator("envs:keyhole/DiamondGhost-v0", 0, memory=memory, **ghost)
        policy = agents.build(world, "naive", 0, width=8).policy
        torch.nn.init.zeros_(policy.action_net.weight)  # the policy is random, whatever it observes
        torch.nn.init.zeros_(policy.action_net.bias)
        found = evaluate(policy)
        values.append(
            [found.true_return, found.bad_acts.monitored, found.bad_acts.unmonitored, found.bad_acts.verdicts]
        )
    np.testing.assert_allclose(values[0], values[1], atol=1e-9)


@pytest.mark.slow
def test_frames_balance_a_pole_whose_velocities_are_hidden_for_longer_than_no_memory():
    positions = {"overseer_view": lambda step: step.terminated.astype(int), "judgement": [np.nan, -1.0]}
    hidden = {"agent_view": lambda obs: obs[:, [0, 2]], "gamma": 0.99, "max_episode_steps": 200}
    env = envs.overseen("memory/Positions-v0", "CartPole-v1", **positions, **hidden)
    settings = {"n_steps": 128, "batch_size": 256, "n_epochs": 6, "width": 32, "gamma": 0.98}
    lengths = []
    try:
        for memory in ("none", "frames(3)"):
            world = agents.make_vec_env(env, 16, memory=memory)
            model = agents.build(world, "proxy", 0, algorithm="ppo", memory=memory, **settings).learn(24_000)
            evaluate, exact = agents.make_evaluator(env, 0, episodes=32, memory=memory)
            assert not exact
            lengths.append(evaluate(model.policy).episode_length)
    finally:
        gymnasium.registry.pop(env, None)
    assert lengths[1] > 1.5 * lengths[0]
