"""Declared noise is sampled and enumerated through the same functions."""

import numpy as np
import pytest
from gymnasium.spaces import MultiBinary

import envs

STAY, GO = range(2)


class Slippery(envs.POMDP):
    """Going moves one cell, none after a slip, or two in a gust; the last cell is worth 1."""

    gamma = 0.9
    overseer_labels = ("nothing", "end")
    judgement = np.array([0.0, 1.0])
    outcomes = ("nothing", "end")

    def __init__(self, num_envs=1, *, slip=0.3, gust=0.2, max_episode_steps=400, render_mode=None):
        self.slip, self.gust = slip, gust
        self.noise = {"slipping": (1 - slip, slip), "gusting": (1 - gust, gust)}
        super().__init__(num_envs, max_episode_steps, render_mode, MultiBinary(3), 2)

    def starts(self):
        return np.array([[0]]), np.ones(1)

    def transition(self, state, action, slipping, gusting):
        return np.minimum(state + (action * (1 - slipping) * (1 + gusting))[:, None], 2)

    def terminal(self, state):
        return state[:, 0] == 2

    def reward(self, state, action, next_state):
        return self.terminal(next_state) * 1.0

    true_reward = reward

    def observation(self, state):
        return np.eye(3, dtype=np.int8)[state[:, 0]]

    def overseer_observation(self, state, action, next_state):
        return self.terminal(next_state).astype(int)

    def outcome(self, state):
        return self.terminal(state).astype(int)


def test_the_exact_return_under_noise_is_the_closed_form():
    slip, gust, gamma = 0.3, 0.2, 0.9
    last = (1 - slip) / (1 - gamma * slip)  # from the cell before the end
    first = (1 - slip) * (gust + (1 - gust) * gamma * last) / (1 - gamma * slip)
    tables = envs.compile_world(Slippery())
    going = np.tile([0.0, 1.0], (2, 1))
    assert envs.exact.evaluate(tables, going).true_return == pytest.approx(first, abs=1e-12)
    assert envs.exact.optimal(tables).value == pytest.approx(first, abs=1e-12)
    assert tables.noise.tolist() == pytest.approx([0.56, 0.14, 0.24, 0.06])


def test_sampling_agrees_with_the_exact_return_under_noise():
    world = Slippery(20_000, max_episode_steps=6)
    expected = envs.exact.evaluate(envs.compile_world(world), np.tile([0.0, 1.0], (2, 1)))
    world.reset(seed=0)
    alive, total = np.ones(20_000, bool), np.zeros(20_000)
    for step in range(6):
        _, reward, terminated, _, _ = world.step(np.ones(20_000, int))
        total += alive * reward * world.gamma**step
        alive &= ~terminated
    assert abs(total.mean() - expected.true_return) < 4 * total.std() / np.sqrt(20_000)
    assert abs((~alive).mean() - expected.outcomes["end"]) < 4 * alive.std() / np.sqrt(20_000)


def test_table_dynamics_draw_the_same_noise_as_function_dynamics():
    by_functions, by_tables = Slippery(64, max_episode_steps=9), Slippery(64, max_episode_steps=9)
    by_functions.reset(seed=0)
    by_tables.reset(seed=0)
    by_tables.use_tables()
    for _ in range(40):
        actions = by_functions.action_space.sample()
        for a, b in zip(by_functions.step(actions)[:4], by_tables.step(actions)[:4], strict=True):
            assert np.array_equal(a, b)


def test_a_world_with_noise_passes_the_checker():
    envs.check_vector_env(Slippery(16, max_episode_steps=9))
