"""An array that somebody still looks at is never written over."""

import functools

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.spaces import MultiBinary

import envs
from envs.array_pool import MAX_ARRAYS, ArrayPool


def test_an_array_is_given_out_again_only_when_nobody_holds_it_or_a_view_of_it():
    blank = ArrayPool((4, 3), np.int8)
    first = blank()
    assert blank() is not first
    view, address = first[1:, :2], first.ctypes.data
    del first
    assert blank().ctypes.data != address
    del view
    assert blank().ctypes.data == address


def test_more_arrays_than_are_kept_are_all_different():
    blank = ArrayPool((2,), np.int64)
    held = [blank() for _ in range(3 * MAX_ARRAYS)]
    for i, array in enumerate(held):
        array[:] = i
    assert [array[0] for array in held] == list(range(3 * MAX_ARRAYS))


class Glass(envs.POMDP):
    """Every function gives what it was given, or a part of it; the second action ends."""

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


def everything(step):
    """The arrays that a step gives, final ones too."""
    *arrays, info = step
    told = [info[name] for name in ("overseer_obs", "true_reward", "outcome")]
    return [*arrays, *told, *(obs for obs in info.get("final_obs", ()) if obs is not None)]


@pytest.mark.parametrize("by_tables", [False, True])
@pytest.mark.parametrize("make", [Glass, functools.partial(gymnasium.make_vec, "keyhole/DiamondGhost-v0", size=3)])
def test_nothing_that_a_step_gave_is_written_over_later(make, by_tables):
    world = make(num_envs=64)
    if by_tables:
        world.use_tables()
    obs, _ = world.reset(seed=0)
    kept, copies = [obs], [obs.copy()]
    actions = np.random.default_rng(0).random((60, 64)) < 0.1
    for action in actions.astype(int):
        given = everything(world.step(action))
        kept += given
        copies += [array.copy() for array in given]
    assert all(np.array_equal(then, now) for then, now in zip(copies, kept, strict=True))


def test_what_is_told_of_a_step_is_of_the_state_reached_though_it_be_a_view_of_it():
    world = Glass(64)
    world.reset(seed=0)
    _, reward, terminated, _, info = world.step(np.arange(64) % 2)
    assert np.array_equal(terminated, np.arange(64) % 2 == 1)
    assert np.array_equal(info["overseer_obs"], 1 + terminated)
    assert np.array_equal(reward, 1 + terminated)


def test_torch_can_look_at_what_a_step_by_tables_gives_without_a_copy():
    world = Glass(64)
    world.use_tables()
    world.reset(seed=0)
    for array in everything(world.step(np.arange(64) % 2)):
        assert torch.from_numpy(array).data_ptr() == array.ctypes.data
