import gymnasium
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from stable_baselines3.common.env_util import make_vec_env as make_sb3_env
from stable_baselines3.common.envs import SimpleMultiObsEnv
from stable_baselines3.common.monitor import Monitor

from agents import GymnasiumVecEnv, make_vec_env

ENV = "envs:keyhole/DiamondGhost-v0"


def test_an_environment_that_does_not_reset_in_the_same_step_is_refused():
    env = SyncVectorEnv([lambda: gymnasium.make("CartPole-v1")], autoreset_mode=AutoresetMode.NEXT_STEP)
    with pytest.raises(ValueError, match="SAME_STEP"):
        GymnasiumVecEnv(env)


def cart_poles(n: int = 3) -> SyncVectorEnv:
    return SyncVectorEnv([lambda: gymnasium.make("CartPole-v1")] * n, autoreset_mode=AutoresetMode.SAME_STEP)


def test_an_environment_that_declares_an_overseer_without_its_observation_is_refused_at_its_first_step():
    vector_env = cart_poles(1)
    vector_env.judgement, vector_env.oversight_prob, vector_env.flags = np.zeros(1), 0.5, np.zeros(4, bool)
    env = GymnasiumVecEnv(vector_env)
    assert env.has_overseer
    env.reset()
    with pytest.raises(ValueError, match="overseer_obs"):
        env.step(np.zeros(1, int))


def test_an_environment_without_overseer_steps_as_stable_baselines3s_own_copies_do():
    ours, theirs = GymnasiumVecEnv(cart_poles()), make_sb3_env("CartPole-v1", 3)
    assert not ours.has_overseer
    ours.seed(4)
    theirs.seed(4)
    np.testing.assert_array_equal(ours.reset(), theirs.reset())
    ended = 0
    for _ in range(60):
        (obs, rewards, dones, infos), expected = ours.step(np.ones(3, int)), theirs.step(np.ones(3, int))
        ended += dones.sum()
        np.testing.assert_array_equal(rewards, expected[1])
        np.testing.assert_array_equal(dones, expected[2])
        for info, other in zip(infos, expected[3], strict=True):
            assert info.get("episode", {}).get("l") == other.get("episode", {}).get("l")
            np.testing.assert_array_equal(info.get("terminal_observation"), other.get("terminal_observation"))
        live = ~dones
        if not ended:
            np.testing.assert_array_equal(obs[live], expected[0][live])
    assert ended > 3


@pytest.mark.parametrize("indices", [None, 1, [0, 2], []])
def test_methods_and_attributes_give_one_result_for_each_index(indices):
    count = {None: 3, 1: 1}.get(indices, 0) if not isinstance(indices, list) else len(indices)
    world = make_vec_env(ENV, 3, size=3)
    assert world.env_method("watched", world.env.starts()[0], indices=indices).__len__() == count
    assert world.get_attr("size", indices) == [3] * count
    copies = GymnasiumVecEnv(cart_poles())
    copies.reset()
    states = copies.env_method("get_wrapper_attr", "state", indices=indices)
    expected = [copies.env.envs[i].unwrapped.state for i in range(3)]
    chosen = list(copies._get_indices(indices))
    assert [state.tolist() for state in states] == [expected[i].tolist() for i in chosen]
    assert copies.get_attr("spec", indices) == [copies.env.spec] * count
    assert copies.env_is_wrapped(Monitor, indices) == [True] * count


def test_an_attribute_that_neither_environment_nor_copies_have_is_an_attribute_error():
    for env in (make_vec_env(ENV, 2, size=3), GymnasiumVecEnv(cart_poles())):
        assert not env.has_attr("flavour")
        with pytest.raises(AttributeError, match="flavour"):
            env.env_method("flavour")


def test_dict_observations_and_their_final_ones_are_those_of_the_copies():
    env = GymnasiumVecEnv(
        SyncVectorEnv([lambda: SimpleMultiObsEnv(random_start=False)] * 2, autoreset_mode=AutoresetMode.SAME_STEP)
    )
    assert set(env.reset()) == {"vec", "img"}
    for _ in range(200):
        obs, _, dones, infos = env.step(np.array([2, 1]))
        assert obs["vec"].shape == (2, 5)
        for i in np.flatnonzero(dones):
            assert set(infos[i]["terminal_observation"]) == {"vec", "img"}


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
