import gymnasium
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from agents import GymnasiumVecEnv, make_vec_env

ENV = "envs:keyhole/DiamondGhost-v0"


def test_an_environment_that_does_not_reset_in_the_same_step_is_refused():
    env = SyncVectorEnv([lambda: gymnasium.make("CartPole-v1")], autoreset_mode=AutoresetMode.NEXT_STEP)
    with pytest.raises(ValueError, match="SAME_STEP"):
        GymnasiumVecEnv(env)


def test_an_environment_without_overseer_is_refused_at_its_first_step():
    env = GymnasiumVecEnv(
        SyncVectorEnv([lambda: gymnasium.make("CartPole-v1")], autoreset_mode=AutoresetMode.SAME_STEP)
    )
    env.reset()
    with pytest.raises(ValueError, match="overseer_obs"):
        env.step(np.zeros(1, int))


def test_steps_equal_the_environments_and_infos_of_episode_ends_carry_the_episode():
    ours, theirs = make_vec_env(ENV, 64, size=3), gymnasium.make_vec(ENV, num_envs=64, size=3)
    ours.seed(5)
    obs, (expected, _) = ours.reset(), theirs.reset(seed=5)
    np.testing.assert_array_equal(obs, expected)
    rng, lengths, finished = np.random.default_rng(0), np.zeros(64, int), 0
    for _ in range(80):
        actions = rng.integers(0, 4, 64)
        obs, rewards, dones, infos = ours.step(actions)
        expected, reward, terminated, truncated, info = theirs.step(actions)
        np.testing.assert_array_equal(obs, expected)
        np.testing.assert_array_equal(rewards, reward)
        np.testing.assert_array_equal(ours.overseer_obs, info["overseer_obs"])
        np.testing.assert_array_equal(dones, terminated | truncated)
        lengths += 1
        for i in range(64):
            if not dones[i]:
                assert infos[i] == {}
                continue
            assert infos[i]["episode"] == {"r": reward[i], "l": lengths[i]}
            assert infos[i]["TimeLimit.truncated"] == truncated[i]
            np.testing.assert_array_equal(infos[i]["terminal_observation"], info["final_obs"][i])
            np.testing.assert_array_equal(ours.reached[i], info["final_obs"][i])
            finished += 1
        lengths[dones] = 0
    assert finished > 64


def test_changing_the_returned_rewards_leaves_the_raw_rewards_unchanged():
    env = make_vec_env(ENV, 4)
    env.reset()
    rewards = env.step(np.zeros(4, int))[1]
    rewards += 7
    assert (env.raw_reward < 7).all()
