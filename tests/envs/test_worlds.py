"""Every registered world meets Gymnasium's contract, as a single and as a vector environment."""

import itertools

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env, data_equivalence
from gymnasium.vector import AutoresetMode

from envs.tables import DenseIndex, HashedIndex, distinct_rows


def test_the_single_environment_passes_gymnasiums_checker(variant, monkeypatch):
    """The checker takes nan for unequal to nan, so it compares infos with a number instead."""

    def without_nan(data):
        if isinstance(data, dict) and "overseer_obs" in data:
            return data | {"overseer_obs": np.nan_to_num(data["overseer_obs"], nan=-1)}
        return data

    def equivalent(first, second, exact=False):
        return data_equivalence(without_nan(first), without_nan(second), exact)

    monkeypatch.setattr("gymnasium.utils.env_checker.data_equivalence", equivalent)
    name, keywords = variant
    check_env(gymnasium.make(name, render_mode="rgb_array", **keywords).unwrapped)


def test_start_states_are_drawn_from_the_start_distribution(make):
    """A chi-square test over the start states, merged into 20 classes of about equal probability."""
    world = make()
    states, probabilities = world.starts()
    assert probabilities.sum() == pytest.approx(1)
    assert len(distinct_rows(states)[0]) == len(states)
    world.reset(seed=0)
    classes = np.minimum((np.cumsum(probabilities) - probabilities) * 20, 19).astype(int)
    expected = np.bincount(classes, probabilities, 20) * 20_000
    found = np.bincount(classes[HashedIndex.of_rows(states).lookup(world.initial(20_000))], minlength=20)
    possible = expected > 0
    assert np.array_equal(possible, found > 0) or found[~possible].sum() == 0
    assert ((found - expected)[possible] ** 2 / expected[possible]).sum() < 50  # 19 degrees of freedom: p = 0.0001


def possible_observations(world, state, action):
    """The observation after this action, (N, *obs), under each value of the noise."""
    values = itertools.product(*(range(len(p)) for p in world.noise.values()))
    noises = [{name: np.full(len(state), v) for name, v in zip(world.noise, value, strict=True)} for value in values]
    return [world.observation(world.transition(state, action, **noise)) for noise in noises]


@pytest.mark.parametrize("by_tables", [False, True])
def test_a_copy_restarts_in_the_step_that_ends_its_episode_and_reports_its_final_observation(make, by_tables):
    world = make(64)
    world.reset(seed=0)
    if by_tables:
        world.use_tables()
    world.action_space.seed(0)
    for _ in range(world.max_episode_steps):
        action = world.action_space.sample()
        possible = possible_observations(world, world.snapshot()["state"], action)
        obs, _, terminated, truncated, info = world.step(action)
        done = terminated | truncated
        assert np.array_equal(obs, world.observation(world.snapshot()["state"]))
        for i in range(64):
            reached = info["final_obs"][i] if done[i] else obs[i]
            assert any(np.array_equal(reached, each[i]) for each in possible)
    assert done.any()


def test_info_of_ended_copies_has_the_form_of_gymnasiums_sync_vector_env(variant, make):
    name, keywords = variant
    modes = {"autoreset_mode": AutoresetMode.SAME_STEP}
    own = gymnasium.make_vec(name, num_envs=3, vectorization_mode="sync", vector_kwargs=modes, **keywords)
    infos = []
    for env in (own, make(3)):
        env.reset(seed=0)
        env.action_space.seed(0)
        while True:
            *_, terminated, truncated, info = env.step(env.action_space.sample())
            if (terminated | truncated).any():
                break
        infos.append(info)
        assert [final is None for final in info["final_obs"]] == (~terminated & ~truncated).tolist()
        for masks, mqueried in ((info, ("final_obs", "final_info")), (info["final_info"], ("outcome", "true_reward"))):
            assert all(np.array_equal(masks[f"_{each}"], terminated | truncated) for each in mqueried)
    theirs, ours = infos
    assert ours["final_obs"].dtype == theirs["final_obs"].dtype
    assert ours["final_info"].keys() == theirs["final_info"].keys()


def test_an_episode_is_truncated_exactly_at_the_time_limit(make):
    world = make(8, max_episode_steps=7)
    starts = world.starts()[0][:8].repeat(8, 0)[:8]
    world.reset(seed=0, options={"state": starts})
    ages = np.zeros(8, int)
    world.action_space.seed(0)
    for _ in range(50):
        _, _, terminated, truncated, _ = world.step(world.action_space.sample())
        ages += 1
        assert np.array_equal(truncated, (ages == 7) & ~terminated)
        ages[terminated | truncated] = 0


def test_the_seed_determines_the_trajectory_and_another_seed_changes_it_if_the_world_is_random(make):
    world = make(32)

    def trajectory(seed):
        obs, _ = world.reset(seed=seed)
        world.action_space.seed(0)
        steps = [world.step(world.action_space.sample()) for _ in range(60)]
        last = [obs.tobytes() for *_, info in steps for obs in info.get("final_obs", ()) if obs is not None]
        seen = [(step[0], step[4]["overseer_obs"]) for step in steps]
        return [obs.tobytes()] + [array.tobytes() for arrays in seen for array in arrays] + last

    assert trajectory(3) == trajectory(3)
    is_random = len(world.starts()[0]) > 1 or len(world.noise) > 0
    assert (trajectory(3) != trajectory(4)) == is_random


def test_table_and_function_dynamics_have_equal_trajectories_from_equal_seeds(make):
    by_functions, by_tables = make(32), make(32)
    for world in (by_functions, by_tables):
        world.reset(seed=5)
    for step in range(100):
        if step == 10:  # in the middle of episodes
            by_tables.use_tables()
        actions = by_functions.action_space.sample()
        a, b = by_functions.step(actions), by_tables.step(actions)
        for x, y in zip(a[:4], b[:4], strict=True):
            assert np.array_equal(x, y)
            assert x.dtype == y.dtype
        for name in ("overseer_obs", "true_reward", "outcome"):
            assert np.array_equal(a[4][name], b[4][name], equal_nan=True)
        for x, y in zip(a[4].get("final_obs", ()), b[4].get("final_obs", ()), strict=True):
            assert np.array_equal(x, y)


def test_a_world_switches_to_table_dynamics_after_the_warm_up(make, monkeypatch):
    monkeypatch.setattr("envs.pomdp.WARM_UP", 100)
    world = make(32)
    world.reset(seed=0)
    by_functions = world.dynamics
    for _ in range(5):
        world.step(world.action_space.sample())
    assert world.dynamics is not by_functions


@pytest.mark.parametrize("mode", ["ansi", "rgb_array"])
def test_every_copy_is_rendered(make, mode):
    world = make(3, render_mode=mode)
    world.reset(seed=0)
    frames = world.render()
    assert len(frames) == 3
    assert all(len(frame) for frame in frames)


def test_the_layout_contains_the_state_itself_exactly_once(make):
    world = make(5)
    world.reset(seed=0)
    for state in world.initial(5):
        layout = world.layout(state)
        assert layout is None or (layout == state).all(-1).sum() == 1


def test_dense_and_hashed_indices_find_the_same_rows():
    rng = np.random.default_rng(0)
    rows = np.unique(rng.integers(-3, 9, (400, 4)), axis=0)
    rng.shuffle(rows)
    queried = rng.integers(0, len(rows), 1000)
    assert np.array_equal(DenseIndex.of_rows(rows).lookup(rows[queried]), queried)
    assert np.array_equal(HashedIndex.of_rows(rows).lookup(rows[queried]), queried)


def test_distinct_rows_of_round_floats_have_distinct_hashes():
    rows = np.array(np.meshgrid([0, 1, 2, 4, 0.5, np.inf], [0, 1, 2, 8, np.inf], [1, 16, 0.25])).T.reshape(-1, 3)
    assert len(distinct_rows(rows)[0]) == len(rows)
