"""Audits reveal the true rewards of random episodes to the overseer, and change nothing else."""

import gymnasium
import numpy as np
import pytest
from gymnasium.spaces import Box
from gymnasium.vector import AutoresetMode, SyncVectorEnv

import envs
from envs.exact import evaluation
from envs.wrappers import AgentKnowledge
from tests.envs.sampled import assert_counts_agree, assert_equal_arrays, continuation, trajectory

SMALL = ("DiamondGhost", {"size": 2, "oversight_prob": 0.4})
MASK = np.arange(8) % 3 == 0


def world(name, num_envs=8, **keywords):
    return gymnasium.make_vec(f"keyhole/{name}-v0", num_envs=num_envs, **keywords)


@pytest.mark.parametrize("name", ["HideErrors", "TMaze", "AbsentSupervisor", "DiamondVault"])
def test_without_audits_every_step_is_that_of_the_wrapped_world(name):
    assert_equal_arrays(trajectory(envs.Audits(world(name), 0.0)), trajectory(world(name)))


def test_with_certain_audits_every_verdict_is_the_true_reward(make):
    env = envs.Audits(make(16, **{"max_episode_steps": 9}), 1.0)
    env.reset(seed=0)
    for _ in range(20):
        *_, info = env.step(env.action_space.sample())
        assert info["audited"].all()
        assert np.array_equal(env.verdict(info["overseer_obs"]), info["true_reward"])


@pytest.mark.parametrize(
    ("name", "keywords"), [("HideErrors", {}), ("AbsentSupervisor", {"max_episode_steps": 20}), SMALL]
)
@pytest.mark.parametrize("p", [0.3, 0.9])
def test_sampled_steps_have_the_labels_of_the_tables(name, keywords, p):
    assert_counts_agree(envs.Audits(world(name, 4000, **keywords), p))


def test_tables_have_two_states_for_each_of_the_world_and_stay_valid(make):
    inner = envs.compile_world(make(1))
    tables = envs.compile_world(envs.Audits(make(1), 0.25))
    assert len(tables.states) == 2 * len(inner.states)
    assert len(tables.successor) == 2 * len(inner.successor)
    assert np.array_equal(tables.row(tables.states), np.arange(len(tables.states)))
    assert np.array_equal(
        tables.states[tables.successor, -1],
        np.broadcast_to(tables.states[: len(tables.successor), -1, None, None], tables.successor.shape),
    )
    assert np.array_equal(tables.view[: len(tables.successor)], tables.observations[tables.observation])
    assert tables.start_probability @ tables.states[tables.start, -1] == pytest.approx(0.25, abs=1e-12)
    assert tables.watched[tables.states[:, -1] == 1].all()
    assert len(tables.observations) == len(inner.observations)


@pytest.mark.parametrize(("p", "n"), [(0.0, 1), (1.0, 1), (0.5, 2)])
def test_only_possible_values_of_the_audit_have_states(p, n):
    inner = envs.compile_world(world("HideErrors"))
    assert len(envs.compile_world(envs.Audits(world("HideErrors"), p)).states) == n * len(inner.states)


@pytest.mark.parametrize("wrap", [envs.Audits, envs.Queried], ids=["audits", "queries"])
def test_tables_are_made_once_for_each_wrapper(wrap):
    env = wrap(world("HideErrors"), 0.5)
    assert env.tabulate() is env.tabulate()


def test_returns_of_a_policy_do_not_depend_on_audits():
    plain, audited = (envs.compile_world(env) for env in (world("TMaze"), envs.Audits(world("TMaze"), 0.3)))
    policy = np.full((len(plain.observations), 4), 0.25)
    first, second = (evaluation.evaluate(tables, policy) for tables in (plain, audited))
    assert second.true_return == pytest.approx(first.true_return, abs=1e-12)
    assert second.proxy_return == pytest.approx(first.proxy_return, abs=1e-12)


def test_audits_last_for_whole_episodes_and_describe_the_step_just_made():
    env = envs.Audits(world("TMaze", 64, length=1), 0.5)
    env.action_space.seed(0)
    env.reset(seed=0)
    before, seen = env.snapshot()["audited"], set()
    for _ in range(40):
        _, _, terminated, truncated, info = env.step(env.action_space.sample())
        done = terminated | truncated
        assert np.array_equal(info["audited"], before)
        assert np.array_equal(info["overseer_obs"] >= env.audit_label, before)
        if done.any():
            assert np.array_equal(info["final_info"]["audited"], before)
            assert np.array_equal(info["final_info"]["_audited"], done)
            assert np.array_equal(info["final_info"]["overseer_obs"], info["overseer_obs"])
        after = env.snapshot()["audited"]
        assert np.array_equal(after[~done], before[~done])
        seen |= set(zip(before[done].tolist(), after[done].tolist(), strict=True))
        before = after
    assert len(seen) == 4


def test_a_reset_mask_redraws_the_audits_of_the_marked_copies_alone():
    env = envs.Audits(world("TMaze", 8), 0.5)
    env.reset(seed=0)
    drawn = []
    for _ in range(20):
        before = env.snapshot()["audited"]
        info = env.reset(options={"reset_mask": MASK.copy()})[1]
        drawn.append(env.snapshot()["audited"])
        assert np.array_equal(drawn[-1][~MASK], before[~MASK])
        assert not info["watched"][~MASK].any()
        assert info["watched"][MASK & drawn[-1]].all()
    assert 0 < np.mean(drawn, 0)[MASK].min() < 1


def test_the_seed_determines_the_audits_and_another_seed_changes_them():
    env = envs.Audits(world("TMaze", 64), 0.5)
    audits = []
    for seed in (3, 3, 4, list(range(64)), list(range(64))):
        env.reset(seed=seed)
        audits.append(env.snapshot()["audited"])
    assert np.array_equal(audits[0], audits[1])
    assert not np.array_equal(audits[0], audits[2])
    assert np.array_equal(audits[3], audits[4])


def test_a_snapshot_continues_bit_for_bit():
    env, other = (envs.Audits(world("DiamondVault", 8), 0.4) for _ in range(2))
    env.reset(seed=0)
    continuation(env, 7)
    other.reset(seed=9)
    other.restore(env.snapshot())
    assert_equal_arrays(continuation(env, 300), continuation(other, 300))


def test_the_checker_accepts_audits_of_every_world(make):
    envs.check_vector_env(envs.Audits(make(8), 0.3))


def test_an_agents_view_of_an_audited_world_keeps_its_tables():
    env = AgentKnowledge(envs.Audits(world("TMaze", knowledge="aware"), 0.3), "blind")
    tables = envs.compile_world(env)
    assert not tables.view[:, -1].any()
    assert env.audit_label == 4
    envs.check_vector_env(env)


def test_audits_of_audits_are_refused():
    with pytest.raises(ValueError, match=r"^Audits around Audits: the steps are audited already$"):
        envs.Audits(envs.Audits(world("TMaze"), 0.1), 0.1)


def test_an_impossible_probability_is_refused():
    with pytest.raises(ValueError, match=r"^probability must be a probability between 0 and 1, found 1\.5$"):
        envs.Audits(world("TMaze"), 1.5)


class Drifting(gymnasium.Env):
    """A third party's environment: a number that drifts; its info has a true reward."""

    observation_space, action_space = Box(-9, 9, (1,)), gymnasium.spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.x = 0.0
        return np.zeros(1, np.float32), {}

    def step(self, action):
        self.x += float(self.np_random.normal()) + action
        ended = abs(self.x) > 3
        return np.array([self.x], np.float32).clip(-9, 9), 1.0, ended, False, {"true_reward": self.x}


def drifting(num_envs=8):
    return SyncVectorEnv([Drifting] * num_envs, autoreset_mode=AutoresetMode.SAME_STEP)


def test_an_environment_without_tables_has_one_label_of_audited_steps():
    env = envs.Audits(drifting(64), 0.5)
    assert env.overseer_labels == ("not audited", "audited")
    assert np.isnan(env.judgement).all()
    assert not env.flags.any()
    env.action_space.seed(0)
    assert env.reset(seed=0)[1]["watched"].mean() == pytest.approx(0.5, abs=0.2)
    for _ in range(20):
        _, _, terminated, _, info = env.step(env.action_space.sample())
        assert np.array_equal(info["overseer_obs"], info["audited"])
        assert (np.abs(info["true_reward"][terminated]) > 3).all()  # those of the step, not of the restart
    with pytest.raises(envs.NotEnumerable):
        env.tabulate()
    envs.check_vector_env(env)


def test_an_environment_without_true_rewards_is_refused_in_one_line():
    modes = {"autoreset_mode": AutoresetMode.SAME_STEP}
    env = envs.Audits(
        gymnasium.make_vec("CartPole-v1", num_envs=2, vectorization_mode="sync", vector_kwargs=modes), 0.5
    )
    env.reset(seed=0)
    with pytest.raises(ValueError, match=r"has no 'true_reward' in the info of a step, which audits reveal: add it$"):
        env.step(np.zeros(2, int))
