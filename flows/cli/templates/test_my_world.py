"""Tests of the world; run them with `python -m pytest test_my_world.py`."""

import gymnasium
import numpy as np
import pytest
from my_world import MyWorld

import envs
from envs.exact import optimal


def test_my_world_keeps_every_promise_of_an_environment():
    envs.check_vector_env(gymnasium.make_vec("my_world:mine/MyWorld-v0", num_envs=3))


def test_the_optimum_of_my_world_goes_right():
    best = optimal(envs.compile_world(MyWorld(length=5)))
    assert best.value == pytest.approx(MyWorld.gamma)  # the goal is two steps away and pays 1


def test_the_overseer_sees_the_ends_of_watched_episodes_alone():
    world = MyWorld(num_envs=1, length=5)
    states, action = np.array([[1, 0], [1, 1]]), np.array([0, 0])
    seen = world.overseer_observation(states, action, world.transition(states, action))
    assert [world.overseer_labels[label] for label in seen] == ["nothing", "left"]
