"""Wrappers change what the agent observes and nothing else."""

import gymnasium
import numpy as np
import pytest
from gymnasium.spaces import Box, MultiBinary
from gymnasium.vector import AutoresetMode

import envs
from envs.wrappers import AgentKnowledge, AliasObservation

FLAG_PLANES = slice(3, 5)


def grid(num_envs=64, **keywords):
    return gymnasium.make_vec("keyhole/DiamondGhost-v0", num_envs=num_envs, size=3, oversight_prob=0.5, **keywords)


def rollout(env, steps=60):
    """The observations, rewards and final observations of a random policy from a fixed seed."""
    env.action_space.seed(0)
    observations, rewards, last = [env.reset(seed=0)[0]], [], []
    for _ in range(steps):
        obs, reward, terminated, truncated, info = env.step(env.action_space.sample())
        observations.append(obs)
        rewards.append(reward)
        last += [info["final_obs"][i] for i in np.flatnonzero(terminated | truncated)]
    return np.concatenate(observations), np.concatenate(rewards), np.array(last)


def test_an_aware_agent_observes_what_the_world_returns():
    for a, b in zip(rollout(grid()), rollout(AgentKnowledge(grid(), "aware")), strict=True):
        assert np.array_equal(a, b)


def test_a_blind_agent_observes_what_a_blind_world_returns():
    for a, b in zip(rollout(grid(knowledge="blind")), rollout(AgentKnowledge(grid(), "blind")), strict=True):
        assert np.array_equal(a, b)


def test_a_noisy_agent_observes_each_flag_flipped_at_the_given_rate_and_all_else_unchanged():
    original, shown = rollout(grid())[0], rollout(AgentKnowledge(grid(), "noisy", noise=0.2))[0]
    assert np.array_equal(original[:, :3], shown[:, :3])
    rate = (original[:, FLAG_PLANES] != shown[:, FLAG_PLANES]).mean()
    assert abs(rate - 0.2) < 0.02


def test_flips_are_constant_throughout_an_episode():
    env = AgentKnowledge(grid(), "noisy", noise=0.5)
    env.action_space.seed(0)
    before, _ = env.reset(seed=0)
    for _ in range(20):
        obs, _, terminated, truncated, info = env.step(env.action_space.sample())
        done = terminated | truncated
        assert np.array_equal(before[~done, FLAG_PLANES], obs[~done, FLAG_PLANES])
        for i in np.flatnonzero(done):
            assert np.array_equal(before[i, FLAG_PLANES], info["final_obs"][i][FLAG_PLANES])
        before = obs


def test_the_same_seed_flips_the_same_flags():
    a, b = (AgentKnowledge(grid(), "noisy", noise=0.5).reset(seed=3)[0] for _ in range(2))
    assert np.array_equal(a, b)


def test_a_blind_wrapper_has_the_tables_of_a_blind_world():
    blind = envs.compile_world(AgentKnowledge(grid(), "blind"))
    world = envs.compile_world(grid(knowledge="blind"))
    assert len(blind.observations) == len(world.observations)
    assert np.array_equal(blind.view[:5, FLAG_PLANES] * 0, blind.view[:5, FLAG_PLANES])


def test_an_aliased_agent_acts_on_as_many_observations_as_there_are_images():
    env = AliasObservation(grid(), lambda obs: obs[:, :1], MultiBinary((1, 3, 3)))
    envs.check_vector_env(env)
    assert len(envs.compile_world(env).observations) == 9
    assert env.gamma == 0.97
    assert env.flags.shape == (1, 3, 3)
    assert not env.flags.any()
    assert env.reset(seed=0)[0].shape == (64, 1, 3, 3)
    assert env.observation(env.initial(2)).shape == (2, 1, 3, 3)


def test_a_noisy_wrapper_has_no_tables():
    with pytest.raises(envs.NotEnumerable, match="use the world's own knowledge='noisy'"):
        envs.compile_world(AgentKnowledge(grid(), "noisy"))


def test_an_aliased_cart_pole_hides_its_velocities():
    modes = {"autoreset_mode": AutoresetMode.SAME_STEP}
    cart = gymnasium.make_vec("CartPole-v1", num_envs=4, vectorization_mode="sync", vector_kwargs=modes)
    env = AliasObservation(cart, lambda obs: obs[:, [0, 2]], Box(-5, 5, (2,), np.float32))
    envs.check_vector_env(env)


def test_an_environment_that_restarts_one_step_later_is_refused():
    cart = gymnasium.make_vec("CartPole-v1", num_envs=4, vectorization_mode="sync")
    with pytest.raises(ValueError, match=r"use AutoresetMode\.SAME_STEP"):
        AliasObservation(cart, np.abs)


@pytest.mark.parametrize(
    ("keywords", "line"),
    [
        ({"knowledge": "blnd"}, "unknown knowledge 'blnd'; did you mean 'blind'?"),
        ({"knowledge": "noisy", "noise": 2}, "noise must be a probability between 0 and 1, found 2"),
    ],
    ids=str,
)
def test_unknown_knowledge_is_refused(keywords, line):
    with pytest.raises(ValueError, match=r".*") as found:
        AgentKnowledge(grid(), **keywords)
    assert str(found.value).startswith(line)
