"""Every registered world keeps Gymnasium's contract, in both forms."""

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

import envs  # noqa: F401  (registers)

IDS = [name for name in gymnasium.registry if name.startswith("keyhole/")]


@pytest.mark.parametrize("name", IDS)
def test_the_single_form_passes_gymnasiums_own_checker(name):
    check_env(gymnasium.make(name, render_mode="rgb_array").unwrapped)


@pytest.mark.parametrize("name", IDS)
def test_every_start_has_the_probability_that_is_written_out(name):
    world = gymnasium.make_vec(name)
    states, law = world.starts()
    assert law.sum() == pytest.approx(1)
    world.reset(seed=0)
    drawn = world.initial(20_000)
    for column in range(states.shape[1]):
        expected = states[:, column] @ law
        spread = np.sqrt((states[:, column] ** 2) @ law - expected**2)
        assert abs(drawn[:, column].mean() - expected) <= 4 * spread / np.sqrt(len(drawn)) + 1e-12


@pytest.mark.parametrize("name", IDS)
def test_a_copy_that_ends_restarts_in_the_same_step_and_shows_what_it_reached(name):
    world = gymnasium.make_vec(name, num_envs=64)
    world.reset(seed=0)
    world.action_space.seed(0)
    for _ in range(world.max_episode_steps):
        obs, _, terminated, truncated, info = world.step(world.action_space.sample())
        done = terminated | truncated
        assert np.array_equal(obs[~done], info["reached"][~done])
        for i in np.flatnonzero(done):
            assert np.array_equal(info["final_obs"][i], info["reached"][i])
