"""An overseer that observes features: tables hold codes of the distinct features, and labels follow from them."""

import gymnasium
import numpy as np
import pytest
from gymnasium.spaces import MultiBinary

import envs
from envs.codebook import Codebook, make_codes
from envs.limited import LimitedOverseer
from tests.envs.sampled import assert_counts_agree, trajectory

ROWS = np.array([[1, np.nan], [0, 2], [1, np.nan], [np.nan, 0.5], [0, np.nan], [-0.0, 2]])


def review(num_envs=8, **keywords):
    return gymnasium.make_vec("keyhole/PartialReview-v0", num_envs=num_envs, **keywords)


def test_codes_are_equal_exactly_for_equal_rows_with_equal_gaps():
    codebook, codes = make_codes(ROWS)
    assert codes.tolist() == [2, 0, 2, 3, 1, 0]
    assert np.array_equal(codebook, [[0, 2], [0, np.nan], [1, np.nan], [np.nan, 0.5]], equal_nan=True)
    assert np.array_equal(Codebook(codebook).codes(ROWS), codes)
    assert Codebook(codebook).codes(ROWS[:0]).tolist() == []


def test_features_without_a_code_are_refused_in_one_line():
    with pytest.raises(ValueError, match=r"^overseer observation \[1\.0, 2\.0\] is not in the tables: start in states"):
        Codebook(make_codes(ROWS)[0]).codes(np.array([[1.0, 2.0]]))


def test_too_many_distinct_features_have_no_tables(monkeypatch):
    monkeypatch.setattr("envs.codebook.MAX_CODES", 3)
    with pytest.raises(envs.NotEnumerable, match="there are 4 overseer observations, more than 3: round the features"):
        make_codes(ROWS)


def test_labels_and_verdicts_follow_from_the_codebook():
    env = review()
    assert env.overseer_codebook.shape == (len(env.overseer_labels), 4)
    assert env.overseer_labels[0] == "finished 0, insight ?, clarity ?, errors ?"
    assert "finished 1, insight 2, clarity 1, errors 0" in env.overseer_labels
    assert env.judgement[env.overseer_labels.index("finished 1, insight 2, clarity 1, errors 0")] == 5
    assert np.isnan(env.judgement[env.overseer_labels.index("finished 1, insight 2, clarity 1, errors ?")])
    assert np.array_equal(env.judgement, env.verdict(env.overseer_codebook), equal_nan=True)


@pytest.mark.parametrize("by_tables", [False, True])
def test_steps_return_features_whose_codes_are_those_of_the_tables(by_tables):
    env = review(64, oversight_prob=0.5)
    if by_tables:
        env.use_tables()
    tables = env.tabulate()
    env.reset(seed=0)
    for _ in range(9):
        before = tables.row(env.snapshot()["state"])
        actions = env.action_space.sample()
        *_, info = env.step(actions)
        assert info["overseer_obs"].shape == (64, 4)
        assert np.array_equal(env.overseer_codes(info["overseer_obs"]), tables.overseer_obs[before, actions, 0])


def test_stepping_by_tables_and_by_functions_observes_the_same_features():
    by_tables = review()
    by_tables.use_tables()
    for a, b in zip(trajectory(review()), trajectory(by_tables), strict=True):
        assert np.array_equal(a, b, equal_nan=a.dtype.kind == "f")


def miss(label, verdict, outcome, terminated, features, *, hidden, **names):
    return np.full(len(label), 0.4), hidden[label]


def honest(label, verdict, outcome, terminated, features, *, hidden, feature_names, **names):
    return 0.5 * (features[:, feature_names.index("errors")] > 0), hidden[label]


@pytest.mark.parametrize(
    "wrap",
    [
        lambda env: envs.Audits(env, 0.3),
        lambda env: LimitedOverseer(env, miss),
        lambda env: envs.Audits(LimitedOverseer(LimitedOverseer(env, honest), miss), 0.2),
        lambda env: envs.Queried(LimitedOverseer(env, honest), 0.2),
    ],
    ids=["audits", "limit", "both", "queries"],
)
def test_wrappers_observe_codes_in_sampled_steps_as_in_tables(wrap):
    env = wrap(review(4000, oversight_prob=0.5))
    assert env.overseer_features == ()
    assert_counts_agree(env)
    envs.check_vector_env(wrap(review()))


def test_a_report_that_is_missed_looks_like_one_of_which_nothing_was_read():
    env = review()
    unread = env.overseer_labels.index("finished 1, insight ?, clarity ?, errors ?")
    assert env.hidden[0] == 0
    assert (env.hidden[1:] == unread).all()


class Endless(envs.POMDP):
    """A world without tables whose overseer observes a feature."""

    overseer_features = ("x",)

    def __init__(self, num_envs=1, *, max_episode_steps=5, render_mode=None):
        super().__init__(num_envs, max_episode_steps, render_mode, MultiBinary(1), 2)

    def initial(self, n):
        return self.np_random.normal(size=(n, 1))

    def transition(self, state, action):
        return state + action[:, None]

    def terminal(self, state):
        return state[:, 0] > 3

    def reward(self, state, action, next_state):
        return next_state[:, 0]

    true_reward = reward

    def observation(self, state):
        return (state > 0).astype(np.int8)

    def overseer_observation(self, state, action, next_state):
        return np.where(next_state > 1, np.nan, next_state)

    def verdict(self, overseer_obs):
        return overseer_obs[:, 0]


def test_without_tables_features_keep_their_form_and_have_no_labels():
    env = Endless(8)
    envs.check_vector_env(env)
    assert env.overseer_labels == ()
    assert len(env.judgement) == 0
    with pytest.raises(ValueError, match=r"^Endless has no tables, so its overseer observations have no labels$"):
        env.overseer_codes(np.zeros((1, 1)))


def test_audits_without_tables_leave_features_as_they_are():
    env = envs.Audits(Endless(64), 0.5)
    envs.check_vector_env(env)
    env.reset(seed=0)
    *_, info = env.step(np.zeros(64, int))
    assert info["overseer_obs"].shape == (64, 1)
    assert 0 < info["audited"].sum() < 64
    assert np.array_equal(env.verdict(info["overseer_obs"]), info["overseer_obs"][:, 0], equal_nan=True)


def test_a_limit_on_features_without_tables_is_refused_in_one_line():
    with pytest.raises(ValueError, match=r"^limit 'miss' needs labels, but [^\n]* observes features without tables$"):
        LimitedOverseer(Endless(8), miss)


class Fixed(Endless):
    """As Endless, with one start state, so that it has tables."""

    initial = envs.POMDP.initial

    def starts(self):
        return np.zeros((1, 1), int), np.ones(1)

    def overseer_observation(self, state, action, next_state):
        return np.where(next_state > 1, np.nan, next_state.astype(float))


class Labelled(Fixed):
    def overseer_observation(self, state, action, next_state):
        return next_state[:, 0]


class WrongWidth(Fixed):
    overseer_features = ("x", "y")


class Infinite(Fixed):
    def overseer_observation(self, state, action, next_state):
        return np.where(next_state > 1, np.inf, 0.0)


class SameName(Fixed):
    overseer_features = ("x", "x")


class NoVerdict(Fixed):
    verdict = envs.POMDP.verdict


class SameFeatureName(Fixed):
    feature_names = ("a", "a")


class WrongStateFeatures(Fixed):
    feature_names = ("a",)


class WrongHidden(Fixed):
    hidden = np.array([5, 5, 5])


@pytest.mark.parametrize(
    ("world", "line"),
    [
        (Labelled, "overseer_observation returns int64 of shape"),
        (WrongWidth, "overseer_observation returns float64 of shape"),
        (Infinite, "overseer_observation returns an infinite feature: return finite numbers, or nan"),
        (SameName, "overseer_features has 'x' twice: give distinct names"),
        (NoVerdict, "NoVerdict has overseer_features and no verdict(overseer_obs): implement it"),
        (SameFeatureName, "feature_names has 'a' twice: give distinct names"),
        (WrongStateFeatures, "state_features returns float64 of shape"),
        (WrongHidden, "hidden is int64 of shape (3,): give the index of a label for each of the 3 labels"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_faulty_declaration_is_refused_in_one_line(world, line):
    with pytest.raises(ValueError, match=r"^[^\n]*$") as refusal:
        envs.check_vector_env(world(8))
    assert str(refusal.value).startswith(f"{world.__name__}: {line}")


def test_the_world_from_which_the_faulty_ones_derive_is_accepted():
    envs.check_vector_env(Fixed(8))
    envs.certify(Fixed(1))
