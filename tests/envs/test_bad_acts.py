"""Worlds declare bad acts; steps, tables and wrappers agree on them."""

import gymnasium
import numpy as np
import pytest

import envs
from envs.certificate.aliasing import random_visits
from envs.limited import LimitedOverseer
from tests.envs.sampled import continuation

WITHOUT = {"keyhole/TMaze-v0", "keyhole/AliasedCorridor-v0"}
KINDS = {
    "AbsentSupervisor": ("short cut",),
    "BoatRace": ("wrong way",),
    "DiamondGhost": ("ghost",),
    "DiamondVault": ("tamper",),
    "FoggyGrid": ("ghost",),
    "HideErrors": ("fails, hidden",),
    "Informant": ("tainted purchase",),
    "Interference": ("spoilt", "spoilt behind the cover"),
    "MonitorBudget": ("trap",),
    "MonitorButton": ("trap",),
    "MonitorN": ("trap",),
    "OversightGame": ("harm",),
    "PartialReview": ("with errors",),
    "SafeInterruptibility": ("button",),
    "SentryCorridor": ("tainted",),
    "StealingGrid": ("theft",),
    "TomatoWatering": ("bucket",),
    "VerboseLog": ("silent stop",),
    "WhiskyGold": ("drinks",),
}


def world(name, num_envs=8, **keywords):
    return gymnasium.make_vec(f"keyhole/{name}-v0", num_envs=num_envs, **keywords)


def half_hidden(label, verdict, outcome, terminated, features, *, hidden, **names):
    return np.full(len(label), 0.5), hidden[label]


def expected_bad_acts(tables):
    """The expected number of bad acts per episode under the uniformly random policy."""
    return (random_visits(tables) * (tables.bad_act > 0)).sum()


def test_these_worlds_have_these_bad_acts():
    names = {
        name: tuple(gymnasium.make_vec(name, num_envs=1).bad_acts) for name in gymnasium.registry if "keyh" in name
    }
    assert {name.removeprefix("keyhole/").removesuffix("-v0"): kinds for name, kinds in names.items() if kinds} == KINDS
    assert {name for name, kinds in names.items() if not kinds} == WITHOUT


@pytest.mark.parametrize("by_tables", [False, True])
def test_a_step_reports_the_bad_act_that_the_function_returns(variant, make, by_tables):
    env = make(64)
    if by_tables:
        env.use_tables()
    env.reset(seed=0)
    env.action_space.seed(0)
    for _ in range(12):
        before, action = env.snapshot()["state"], env.action_space.sample()
        *_, terminated, truncated, info = env.step(action)
        if variant[0] in WITHOUT:
            assert "bad_act" not in info
            continue
        rows = ~(terminated | truncated)
        after = env.snapshot()["state"]
        expected = env.bad_act(before[rows], action[rows], after[rows])
        assert np.array_equal(info["bad_act"][rows], expected)
        if "final_info" in info:
            assert np.array_equal(info["final_info"]["bad_act"], info["bad_act"])


@pytest.mark.parametrize("name", KINDS)
def test_the_same_bad_acts_are_reported_by_tables_and_by_functions(name):
    small = {"size": 3} if name == "DiamondGhost" else {}
    found = []
    for by_tables in (False, True):
        env = world(name, 64, **small)
        if by_tables:
            env.use_tables()
        env.reset(seed=0)
        env.action_space.seed(0)
        found.append([env.step(env.action_space.sample())[-1]["bad_act"] for _ in range(40)])
    assert np.array_equal(*found)
    assert np.any(found[0])


def test_tables_hold_the_bad_act_of_every_step_in_eight_bits(variant, make):
    env = make(1)
    tables = envs.compile_world(env)
    if variant[0] in WITHOUT:
        assert tables.bad_act.size == 0
        return
    assert tables.bad_act.shape == tables.successor.shape
    assert tables.bad_act.dtype == np.int8
    rows = np.random.default_rng(0).choice(len(tables.successor), min(200, len(tables.successor)), replace=False)
    for action in range(tables.n_actions):
        for noise in range(len(tables.noise)):
            after = tables.states[tables.successor[rows, action, noise]]
            expected = env.bad_act(tables.states[rows], np.full(len(rows), action), after)
            assert np.array_equal(tables.bad_act[rows, action, noise], expected)


@pytest.mark.parametrize("name", KINDS)
def test_limits_and_audits_do_not_change_the_bad_acts(name):
    small = {"size": 3} if name == "DiamondGhost" else {}
    plain = world(name, **small)
    limited = LimitedOverseer(world(name, **small), half_hidden)
    expected = expected_bad_acts(envs.compile_world(plain))
    assert expected > 0
    for env in (limited, envs.Audits(limited, 0.3), envs.Audits(plain, 0.3)):
        assert env.bad_acts == plain.bad_acts
        tables = envs.compile_world(env)
        assert tables.bad_act.shape == tables.successor.shape
        assert expected_bad_acts(tables) == pytest.approx(expected, rel=1e-10)


def test_asking_for_an_audit_is_no_bad_act_and_the_other_actions_keep_theirs():
    plain, queried = world("DiamondVault", 2), envs.Queried(world("DiamondVault", 2), 0.1)
    tables = envs.compile_world(queried)
    assert not tables.bad_act[:, -1].any()
    base = envs.compile_world(plain).bad_act
    assert np.array_equal(tables.bad_act[:, :-1], np.concatenate([base, base]))
    for by_tables in (False, True):
        if by_tables:
            queried.unwrapped.use_tables()
        queried.reset(seed=0)
        found = [queried.step(np.array([2, action]))[-1]["bad_act"].tolist() for action in (3, 2, 0)]
        assert found == [[1, 0], [1, 1], [1, 0]]


def test_a_wrapper_of_the_agents_observation_keeps_the_bad_acts():
    env = envs.wrappers.AgentKnowledge(world("DiamondGhost", size=3), "blind")
    assert env.bad_acts == ("ghost",)
    assert expected_bad_acts(envs.compile_world(env)) > 0
    envs.check_vector_env(env)


def test_the_single_environment_reports_bad_acts():
    env = gymnasium.make("keyhole/DiamondVault-v0")
    env.reset(seed=0)
    assert [env.step(action)[-1]["bad_act"] for action in (0, 2, 1)] == [0, 1, 0]


def test_a_snapshot_continues_with_the_same_bad_acts():
    env, other = world("AbsentSupervisor", 64), world("AbsentSupervisor", 64)
    env.reset(seed=0)
    continuation(env, 5)
    other.reset(seed=1)
    other.restore(env.snapshot())
    for step in range(30):
        actions = (np.arange(64) + step) % 4
        assert np.array_equal(*(each.step(actions)[-1]["bad_act"] for each in (env, other)))


def variant_of(name, **attributes):
    """A subclass of a world of ours with other attributes."""
    return type(name, (type(world(name).unwrapped),), attributes)


@pytest.mark.parametrize(
    ("attributes", "line"),
    [
        ({"bad_acts": ("with errors", "with errors")}, "bad_acts has 'with errors' twice: give distinct names"),
        ({"bad_acts": "with errors"}, "bad_acts is 'with errors': give a tuple of names"),
        (
            {"bad_acts": ("errors",)},
            "bad act ['errors'] is none of the outcomes ('without errors', 'with errors'): name",
        ),
        ({"bad_acts": tuple(map(str, range(200)))}, "bad_acts has 200 kinds: give at most 127"),
    ],
)
def test_wrong_kinds_of_bad_act_are_refused_in_one_line_when_a_world_is_made(attributes, line):
    with pytest.raises(ValueError, match=r"^[^\n]*$") as refusal:
        variant_of("PartialReview", **attributes)(1)
    assert str(refusal.value).startswith(f"PartialReview: {line}")


@pytest.mark.parametrize(
    ("function", "line"),
    [
        (
            lambda self, state, action, after: np.full(len(state), 2),
            "bad_act returns 2 to 2: return 0 for none",
        ),
        (lambda self, state, action, after: np.full(len(state), -1), "bad_act returns -1 to -1: return 0 for none"),
        (lambda self, state, action, after: state[:, 0] == 0, "bad_act returns bool of shape"),
        (lambda self, state, action, after: np.zeros((len(state), 2), int), "bad_act returns int64 of shape"),
    ],
    ids=range(4),
)
def test_wrong_bad_acts_are_refused_in_one_line_by_tables_and_by_the_checker(function, line):
    class_ = variant_of("DiamondVault", bad_act=function)
    for refuses in (envs.compile_world, envs.check_vector_env):
        with pytest.raises(ValueError, match=r"^[^\n]*$") as refusal:
            refuses(class_(8))
        assert line in str(refusal.value)


def test_the_checker_refuses_an_environment_that_declares_bad_acts_and_does_not_report_them():
    class Silent(gymnasium.vector.VectorWrapper):
        bad_acts = ("fall",)

    modes = {"autoreset_mode": gymnasium.vector.AutoresetMode.SAME_STEP}
    cart = gymnasium.make_vec("CartPole-v1", num_envs=2, vectorization_mode="sync", vector_kwargs=modes)
    with pytest.raises(ValueError, match=r"lacks 'bad_act', and the environment has bad_acts: add it$"):
        envs.check_vector_env(Silent(cart))
