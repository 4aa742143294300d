"""Returned arrays are never written into later."""

import functools

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.spaces import MultiBinary

import envs


class PassThrough(envs.POMDP):
    """Every function returns its argument or a view of it; the second action ends the episode."""

    overseer_labels = ("none", "going", "gone")
    judgement = np.zeros(3)

    def __init__(self, num_envs=1, *, max_episode_steps=4, render_mode=None):
        super().__init__(num_envs, max_episode_steps, render_mode, MultiBinary(2), 2)

    def starts(self):
        return np.array([[0, 1], [1, 1]], np.int8), np.full(2, 0.5)

    def transition(self, state, action):
        return np.where(action[:, None], [[2, 2]], state).astype(np.int8) if action.any() else state

    def terminal(self, state):
        return state[:, 0] == 2

    def reward(self, state, action, next_state):
        return next_state[:, 1]

    true_reward = reward

    def observation(self, state):
        return state

    def overseer_observation(self, state, action, next_state):
        return next_state[:, 1]


def returned_arrays(step):
    """The arrays that a step returns, final observations included."""
    *arrays, info = step
    extra = [info[name] for name in ("overseer_obs", "true_reward", "outcome")]
    return [*arrays, *extra, *(obs for obs in info.get("final_obs", ()) if obs is not None)]


@pytest.mark.parametrize("by_tables", [False, True])
@pytest.mark.parametrize(
    "make", [PassThrough, functools.partial(gymnasium.make_vec, "keyhole/DiamondGhost-v0", size=3)]
)
def test_arrays_returned_by_a_step_are_not_written_into_by_later_steps(make, by_tables):
    world = make(num_envs=64)
    if by_tables:
        world.use_tables()
    obs, _ = world.reset(seed=0)
    returned, copies = [obs], [obs.copy()]
    actions = np.random.default_rng(0).random((60, 64)) < 0.1
    for action in actions.astype(int):
        arrays = returned_arrays(world.step(action))
        returned += arrays
        copies += [array.copy() for array in arrays]
    assert all(np.array_equal(then, now) for then, now in zip(copies, returned, strict=True))


def test_the_values_of_a_step_are_those_of_the_state_reached_even_if_they_are_views_of_it():
    world = PassThrough(64)
    world.reset(seed=0)
    _, reward, terminated, _, info = world.step(np.arange(64) % 2)
    assert np.array_equal(terminated, np.arange(64) % 2 == 1)
    assert np.array_equal(info["overseer_obs"], 1 + terminated)
    assert np.array_equal(reward, 1 + terminated)


def test_torch_shares_memory_with_the_arrays_that_table_dynamics_return():
    world = PassThrough(64)
    world.use_tables()
    world.reset(seed=0)
    for array in returned_arrays(world.step(np.arange(64) % 2)):
        assert torch.from_numpy(array).data_ptr() == array.ctypes.data
