"""Asking holds the world, costs something, and audits the rest of the episode."""

import gymnasium
import numpy as np
import pytest
from gymnasium.spaces import Box, MultiBinary
from gymnasium.vector import AutoresetMode

import envs
from envs.exact.optimum import optimal
from envs.queried import _extended_space
from tests.envs.sampled import assert_counts_agree, assert_equal_arrays, continuation

ASK = 4


def world(name, num_envs=8, **keywords):
    return gymnasium.make_vec(f"keyhole/{name}-v0", num_envs=num_envs, **keywords)


def test_asking_leaves_the_world_in_its_state_and_costs_something_in_both_rewards(make):
    env = envs.Queried(make(8), 0.25)
    ask = env.single_action_space.n - 1
    for by_tables in (False, True):
        if by_tables:
            env.unwrapped.use_tables()
        obs, _ = env.reset(seed=0)
        before = env.snapshot()["env"]["state"].copy()
        asks = np.arange(8) % 2 == 0
        after, reward, terminated, _, info = env.step(np.where(asks, ask, 0))
        assert np.array_equal(env.snapshot()["env"]["state"][asks], before[asks])
        assert (reward[asks] == -0.25).all()
        assert (info["true_reward"][asks] == -0.25).all()
        assert not terminated[asks].any()
        assert np.array_equal(after[asks][:, :-1], obs[asks][:, :-1])
        assert (after[asks][:, -1] == 1).all()
        assert not after[~asks][:, -1].any()
        assert np.array_equal(info["audited"], asks)
        assert np.array_equal(env.verdict(info["overseer_obs"])[asks], np.full(4, -0.25))


def test_sampled_steps_have_the_labels_of_the_tables():
    assert_counts_agree(envs.Queried(world("HideErrors", 4000), 0.5))
    assert_counts_agree(envs.Queried(world("TMaze", 4000, length=1, max_episode_steps=6), 0.5))
    assert_counts_agree(envs.Queried(world("DiamondVault", 2000, max_episode_steps=9), 0.5))


def test_sampled_returns_agree_with_the_tables():
    from envs.certificate.aliasing import random_visits

    env = envs.Queried(world("DiamondGhost", 4000, size=2, max_episode_steps=8), 0.1)
    tables = envs.compile_world(env)
    visits = random_visits(tables)
    env.action_space.seed(1000)
    env.reset(seed=0)
    totals, alive = np.zeros((4000, 2)), np.ones(4000, bool)
    for _ in range(8):
        _, reward, terminated, truncated, info = env.step(env.action_space.sample())
        totals += np.column_stack((reward, info["true_reward"])) * alive[:, None]
        alive &= ~(terminated | truncated)
    expected = [(visits * tables.reward).sum(), (visits * tables.true_reward).sum()]
    assert (np.abs(totals.mean(0) - expected) < 5 * totals.std(0) / np.sqrt(4000)).all()


def test_every_step_after_asking_has_the_verdict_of_its_true_reward_until_the_episode_ends():
    env = envs.Queried(world("TMaze", 64, length=1), 0.1)
    env.action_space.seed(1)
    env.reset(seed=0)
    asked, n_ends = np.zeros(64, bool), 0
    for _ in range(60):
        actions = env.action_space.sample()
        obs, _, terminated, truncated, info = env.step(actions)
        asked |= actions == ASK
        done = terminated | truncated
        assert np.array_equal(info["audited"], asked)
        assert np.array_equal(env.verdict(info["overseer_obs"])[asked], info["true_reward"][asked])
        for i in np.flatnonzero(done):
            assert info["final_obs"][i][-1] == asked[i]
        n_ends += int((done & asked).sum())
        asked &= ~done
        assert np.array_equal(obs[:, -1], asked)
    assert n_ends > 20


def test_the_time_limit_goes_on_while_the_agent_asks():
    env = envs.Queried(world("TMaze", 2), 0.1)
    env.reset(seed=0)
    ends = [env.step(np.full(2, ASK))[3].tolist() for _ in range(32)]
    assert ends == [[False, False]] * 31 + [[True, True]]


def test_the_outcome_of_an_episode_that_ends_while_asking_is_that_of_its_state():
    env = envs.Queried(world("DiamondVault", 4, max_episode_steps=3), 0.1)
    env.reset(seed=0)
    for _ in range(3):
        *_, info = env.step(np.full(4, 3))
    assert [env.outcomes[outcome] for outcome in info["outcome"]] == ["kept"] * 4


def test_the_best_agent_asks_exactly_if_asking_pays():
    for cost, value in ((-1.5, 3.5 + 3.0), (1.0, 3.5)):  # two of four steps are left for asking
        tables = envs.compile_world(envs.Queried(world("HideErrors"), cost))
        assert optimal(tables).value == pytest.approx(value, abs=1e-9)


def test_names_arrows_spaces_and_flags_are_extended(make):
    inner, env = make(2), envs.Queried(make(2), 0.1)
    n = inner.single_action_space.n
    assert env.action_names == (*inner.action_names, "ask")
    assert env.action_arrows is None or len(env.action_arrows) == n + 1
    assert env.single_action_space.n == n + 1
    shape = inner.single_observation_space.shape
    assert env.single_observation_space.shape == (shape[0] + 1, *shape[1:])
    assert env.flags.shape == env.single_observation_space.shape
    assert env.flags[-1].all()
    assert np.array_equal(env.flags[:-1], inner.flags)


def test_the_tables_agree_with_the_observations(make):
    env = envs.Queried(make(1), 0.1)
    tables = envs.compile_world(env)
    assert np.array_equal(env.observation(tables.states), tables.view)
    assert np.array_equal(tables.row(tables.states), np.arange(len(tables.states)))
    assert tables.successor.shape[1] == env.single_action_space.n
    assert not tables.states[tables.start, -1].any()
    assert not env.observation(env.initial(3))[:, -1].any()


def test_the_checker_accepts_queries_in_every_world(make):
    envs.check_vector_env(envs.Queried(make(8), 0.1))


def test_a_snapshot_continues_bit_for_bit():
    env, other = (envs.Queried(world("DiamondVault"), 0.4) for _ in range(2))
    env.reset(seed=0)
    continuation(env, 7)
    other.reset(seed=9)
    other.restore(env.snapshot())
    assert_equal_arrays(continuation(env, 300), continuation(other, 300))


def test_a_reset_mask_forgets_the_questions_of_the_marked_copies_alone():
    env = envs.Queried(world("TMaze"), 0.1)
    env.reset(seed=0)
    env.step(np.full(8, ASK))
    mask = np.arange(8) % 3 == 0
    obs, _ = env.reset(options={"reset_mask": mask.copy()})
    assert np.array_equal(obs[:, -1], ~mask)


def test_a_refused_action_holds_no_copy():
    env = envs.Queried(world("TMaze"), 0.1)
    env.reset(seed=0)
    with pytest.raises(ValueError, match=r"^actions must be 0 to 4, found 4 to 5$"):
        env.step(np.array([5] * 7 + [4]))
    with pytest.raises(ValueError, match="actions must be"):
        env.step(np.array([-1] * 7 + [4]))
    assert env.unwrapped.held is None


@pytest.mark.parametrize(
    ("space", "expected"),
    [
        (MultiBinary(3), MultiBinary(4)),
        (MultiBinary((2, 3)), MultiBinary((3, 3))),
        (Box(-2, 5, (2,), np.float32), Box(np.float32([-2, -2, 0]), np.float32([5, 5, 1]))),
    ],
    ids=str,
)
def test_an_observation_space_gains_one_entry_along_its_first_axis(space, expected):
    assert _extended_space(space) == expected


def test_other_spaces_and_other_environments_are_refused_in_one_line():
    with pytest.raises(ValueError, match=r"^observations in Discrete\(3\) cannot show whether the agent has asked"):
        _extended_space(gymnasium.spaces.Discrete(3))
    modes = {"autoreset_mode": AutoresetMode.SAME_STEP}
    cart = gymnasium.make_vec("CartPole-v1", num_envs=2, vectorization_mode="sync", vector_kwargs=modes)
    with pytest.raises(ValueError, match=r"cannot wait while the agent asks: derive it from envs\.POMDP"):
        envs.Queried(cart, 0.1)
    with pytest.raises(ValueError, match="the steps are audited already"):
        envs.Queried(envs.Audits(world("TMaze"), 0.1), 0.1)


def test_a_world_without_a_time_limit_needs_a_discount():
    endless = {"max_episode_steps": 10**7}
    assert envs.compile_world(envs.Queried(world("DiamondVault", **endless), 0.1)).horizon == 350
    with pytest.raises(envs.NotEnumerable, match="asking need not end an episode"):
        envs.compile_world(envs.Queried(world("HideErrors", **endless), 0.1))
