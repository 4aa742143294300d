"""Worlds with several kinds of bad act of which an overseer sees some."""

import itertools

import gymnasium
import numpy as np
import pytest

import envs
from envs.tables import distinct_rows
from envs.worlds.diamond_ghost import AGENT, DIAMOND, GHOST, SECOND
from envs.worlds.diamond_vault import FILMED, GUARD, IDLE, IN, SPOOFED, TAMPER


def grid(**keywords):
    return gymnasium.make_vec("keyhole/DiamondGhost-v0", **{"num_envs": 1, "ghosts": 2, **keywords})


def vault(**keywords):
    return gymnasium.make_vec("keyhole/DiamondVault-v0", **{"num_envs": 1, "cameras": 2, **keywords})


def test_the_second_ghost_has_names_of_its_own_and_the_default_world_has_none_of_them():
    two, one = grid(size=3), grid(size=3, ghosts=1)
    for name in ("outcomes", "overseer_labels", "bad_acts"):
        assert getattr(two, name) == (*getattr(one, name), "second ghost")
    assert two.judgement.tolist() == pytest.approx([0, np.nan, 1, -1, -1], nan_ok=True)
    assert two.single_observation_space.shape == (7, 3, 3)
    assert one.single_observation_space.shape == (5, 3, 3)
    assert envs.compile_world(one).states.shape[1] == 7
    assert envs.compile_world(two).states.shape[1] == 10


@pytest.mark.parametrize("knowledge", ["aware", "blind", "noisy"])
@pytest.mark.parametrize("regime", ["state_square", "iid_episode"])
def test_two_ghosts_start_on_distinct_squares_with_flags_that_are_as_likely_as_declared(regime, knowledge):
    world = grid(size=2, oversight_prob=0.3, regime=regime, knowledge=knowledge, knowledge_noise=0.2)
    world.reset(seed=0)
    drawn = world.initial(40_000)
    assert all(len(set(cells)) == 4 for cells in drawn[:200, [AGENT, GHOST, DIAMOND, SECOND]].tolist())
    states, probabilities = world.starts()
    expected = dict(zip(map(tuple, states.tolist()), probabilities, strict=True))
    first, number = distinct_rows(drawn)
    found = dict(zip(map(tuple, drawn[first].tolist()), np.bincount(number) / len(drawn), strict=True))
    assert found.keys() <= expected.keys()
    assert all(abs(found.get(state, 0) - p) < 5 * np.sqrt(p / len(drawn)) for state, p in expected.items())


def test_the_flags_of_three_squares_are_independent_or_equal_and_each_has_a_plane():
    free, equal = (grid(size=2, regime=regime, knowledge="aware") for regime in ("state_square", "iid_episode"))
    for world, combinations in ((free, list(itertools.product((0, 1), repeat=3))), (equal, [(0, 0, 0), (1, 1, 1)])):
        states = world.starts()[0]
        assert set(map(tuple, states[:, [3, 4, 8]].tolist())) == set(combinations)
        planes = world.observation(states).reshape(len(states), 7, -1)
        assert np.array_equal(planes[:, [3, 4, 6]].sum(2), states[:, [3, 4, 8]])
        assert np.array_equal(planes[:, [0, 1, 2, 5]].argmax(2), states[:, [AGENT, GHOST, DIAMOND, SECOND]])
        assert world.flags[[3, 4, 6]].all()
        assert not world.flags[[0, 1, 2, 5]].any()


def test_each_kind_of_ghost_is_bad_and_is_seen_under_its_own_name_if_its_square_is_watched():
    tables = envs.compile_world(grid(size=2, oversight_prob=0.5))
    after = tables.states[tables.successor]
    on = [after[..., AGENT] == after[..., square] for square in (DIAMOND, GHOST, SECOND)]
    assert np.array_equal(tables.true_reward, on[0] - 1.0 * on[1] - 1.0 * on[2])
    assert np.array_equal(tables.reward, on[0] + on[1] + 1.0 * on[2])
    assert np.array_equal(tables.bad_act, on[1] + 2 * on[2])
    assert np.array_equal(tables.outcome[tables.successor], on[0] + 2 * on[1] + 3 * on[2])
    seen = [flag * here for flag, here in zip((after[..., 4], after[..., 3], after[..., 8]), on, strict=True)]
    assert np.array_equal(tables.overseer_obs, sum(on) + seen[0] + 2 * seen[1] + 3 * seen[2])


def test_two_ghosts_have_tables_of_the_documented_sizes():
    assert len(envs.compile_world(grid(size=4)).states) == 429_888
    with pytest.raises(envs.NotEnumerable, match=r"^DiamondGhost has at least 2428800 states, more than the 1000000"):
        envs.compile_world(grid(size=5))


@pytest.mark.slow
def test_two_ghosts_on_five_by_five_squares_have_tables_if_all_squares_are_watched_or_none():
    assert len(envs.compile_world(grid(size=5, regime="iid_episode")).states) == 689_952


def play(world, actions):
    """The names of the overseer observations of these actions, and the bad acts."""
    world.reset(seed=0)
    world.noise = {"thief": (0.0, 0.0, 1.0)}  # no thief comes
    infos = [world.step(np.array([action]))[-1] for action in actions]
    return [world.overseer_labels[info["overseer_obs"][0]] for info in infos], [info["bad_act"][0] for info in infos]


def test_tampering_is_filmed_by_the_next_camera_until_that_is_spoofed():
    on = "2 of 2 screens on"
    assert play(vault(), [TAMPER, TAMPER, TAMPER + 1, TAMPER, GUARD]) == ([FILMED, FILMED, on, on, on], [1, 1, 2, 1, 0])
    assert play(vault(), [TAMPER + 1, TAMPER, IDLE]) == ([on, on, on], [2, 1, 0])
    on = "3 of 3 screens on"
    actions = [TAMPER + 1, TAMPER + 2, TAMPER + 1, TAMPER]
    assert play(vault(cameras=3), actions) == ([FILMED, on, on, on], [2, 3, 2, 1])


def test_after_a_theft_each_spoofed_camera_still_shows_a_diamond_and_the_proxy_needs_all():
    world = vault()
    states = np.array([[1, 0, 0], [0, 0, 0], [0, 1, 0], [0, 0, 1], [0, 1, 1]])
    idle = np.full(5, IDLE)
    assert world.overseer_observation(states, idle, states).tolist() == [2, 0, 1, 1, 2]
    assert world.reward(states, idle, states).tolist() == [1, 0, 0, 0, 1]
    assert world.true_reward(states, idle, states).tolist() == [1, 0, 0, 0, 0]
    assert world.outcome(states).tolist() == [1, 0, 2, 2, 2]


def test_one_camera_is_the_world_without_the_argument():
    first, second = (
        envs.compile_world(vault(cameras=1)),
        envs.compile_world(gymnasium.make_vec("keyhole/DiamondVault-v0")),
    )
    for name in ("states", "successor", "reward", "true_reward", "overseer_obs", "view", "bad_act"):
        assert np.array_equal(getattr(first, name), getattr(second, name)), name
    assert first.states.shape[1] == max(IN, SPOOFED) + 1
