"""Kernels limit what the overseer observes, in sampled steps as in tables."""

import gymnasium
import numpy as np
import pytest

import envs
from envs.exact import evaluation
from envs.limited import LimitedOverseer, hidden_labels
from tests.envs.sampled import assert_counts_agree, assert_equal_arrays, continuation, exact_counts, trajectory

SMALL = {"size": 2, "oversight_prob": 0.4, "max_episode_steps": 12}


def world(name, num_envs=8, **keywords):
    return gymnasium.make_vec(f"keyhole/{name}-v0", num_envs=num_envs, **keywords)


def recall(rate, of=None):
    """A label with a verdict is missed with probability 1 - rate."""

    def kernel(label, verdict, outcome, terminated, features, *, labels, hidden, **names):
        relevant = np.ones(len(label), bool) if of is None else label == labels.index(of)
        return np.where(relevant, 1 - rate, 0.0), hidden[label]

    return kernel


def confusion(rate):
    """Diamonds and ghosts are taken for each other."""

    def kernel(label, verdict, outcome, terminated, features, *, labels, **names):
        diamond, ghost = labels.index("diamond"), labels.index("ghost")
        other = np.where(label == diamond, ghost, np.where(label == ghost, diamond, label))
        return np.full(len(label), rate), other

    return kernel


def lower_rows(label, verdict, outcome, terminated, features, *, labels, hidden, feature_names, **names):
    """The overseer misses more the further down the agent is."""
    return 0.3 * features[:, feature_names.index("row")], hidden[label]


def failures(label, verdict, outcome, terminated, features, *, hidden, outcomes, **names):
    """The overseer misses half of the ends that are ghosts."""
    return 0.5 * (terminated & (outcome == outcomes.index("ghost"))), hidden[label]


KERNELS = [recall(0.3), recall(0.5, "ghost"), confusion(0.2), lower_rows, failures]


@pytest.mark.parametrize("kernel", KERNELS)
def test_sampled_steps_have_the_labels_of_the_tables(kernel):
    assert_counts_agree(LimitedOverseer(world("DiamondGhost", 4000, **SMALL), kernel))


@pytest.mark.parametrize("first", KERNELS[:3])
def test_two_limits_compose_in_order(first):
    env = LimitedOverseer(LimitedOverseer(world("DiamondGhost", 4000, **SMALL), first), lower_rows)
    assert_counts_agree(env)
    assert len(envs.compile_world(env).noise) > len(envs.compile_world(env.env).noise)


def test_audits_and_questions_go_around_limits():
    limited = LimitedOverseer(world("DiamondGhost", 4000, **SMALL), recall(0.5))
    assert_counts_agree(envs.Audits(limited, 0.3))
    limited = LimitedOverseer(world("DiamondGhost", 4000, **SMALL), confusion(0.3))
    assert_counts_agree(envs.Queried(limited, 0.1))


def test_missing_half_of_the_ghosts_halves_the_count_of_ghosts_and_moves_the_rest_to_something():
    plain = world("DiamondGhost", **SMALL)
    nothing, something, diamond, ghost = exact_counts(plain)
    found = exact_counts(LimitedOverseer(plain, recall(0.5, "ghost")))
    assert found == pytest.approx([nothing, something + ghost / 2, diamond, ghost / 2], abs=1e-12)


def test_the_distinct_probabilities_cut_the_unit_interval_into_noise():
    tables = envs.compile_world(LimitedOverseer(world("DiamondGhost", **{**SMALL, "size": 3}), lower_rows))
    assert tables.noise == pytest.approx([0.3, 0.3, 0.4], abs=1e-12)
    assert tables.successor.shape[2] == 3


@pytest.mark.parametrize("rate", [0.0, 1.0])
def test_certain_kernels_add_no_noise(rate):
    plain = envs.compile_world(world("DiamondGhost", **SMALL))
    limited = envs.compile_world(LimitedOverseer(world("DiamondGhost", **SMALL), recall(rate)))
    assert np.array_equal(limited.noise, plain.noise)
    assert np.array_equal(limited.overseer_obs, plain.overseer_obs) == (rate == 1)


def test_a_limit_without_effect_leaves_every_step_as_it_is():
    env = LimitedOverseer(world("DiamondGhost", **SMALL), recall(1.0))
    assert_equal_arrays(trajectory(env), trajectory(world("DiamondGhost", **SMALL)))


def test_a_limit_changes_the_overseers_observation_alone():
    first, second = (trajectory(env) for env in (world("TMaze"), LimitedOverseer(world("TMaze"), recall(0.0))))
    differing = {i % 6 for i, (a, b) in enumerate(zip(first[1:], second[1:], strict=True)) if not np.array_equal(a, b)}
    assert differing <= {4}


def test_returns_do_not_depend_on_limits():
    plain = envs.compile_world(world("TMaze"))
    limited = envs.compile_world(LimitedOverseer(world("TMaze"), recall(0.3)))
    policy = np.full((len(plain.observations), 4), 0.25)
    assert evaluation.evaluate(limited, policy).true_return == pytest.approx(
        evaluation.evaluate(plain, policy).true_return, abs=1e-12
    )


def test_features_are_those_of_the_state_that_a_step_reached_before_any_restart():
    env = LimitedOverseer(world("DiamondGhost", 64, size=3, max_episode_steps=5), lower_rows)
    for by_tables in (False, True):
        if by_tables:
            env.unwrapped.use_tables()
        obs, _ = env.reset(seed=0)
        for _ in range(12):
            obs, _, terminated, truncated, info = env.step(env.action_space.sample())
            reached = obs.copy()
            for i in np.flatnonzero(terminated | truncated):
                reached[i] = info["final_obs"][i]
            row, column = np.nonzero(reached[:, 0])[1:]
            assert np.array_equal(info["features"], np.column_stack((row, column)))


def test_plain_worlds_have_no_features_in_their_info():
    env = world("DiamondGhost", size=2)
    env.reset(seed=0)
    assert "features" not in env.step(np.zeros(8, int))[-1]


def test_two_limits_draw_independently():
    seen = []

    def record(label, verdict, outcome, terminated, features, *, hidden, **names):
        seen.append(label)
        return np.full(len(label), 0.5), np.full(len(label), 3)

    def replace(label, verdict, outcome, terminated, features, **names):
        return np.full(len(label), 0.5), np.full(len(label), 2)

    env = LimitedOverseer(LimitedOverseer(world("TMaze", 4000), replace), record)
    env.reset(seed=0)
    found = env.step(np.ones(4000, int))[-1]["overseer_obs"]
    inner = seen[-1] == 2
    assert inner.mean() == pytest.approx(0.5, abs=0.05)
    assert (found == 3)[inner].mean() == pytest.approx(0.5, abs=0.05)


def test_a_snapshot_continues_bit_for_bit():
    def make():
        inner = LimitedOverseer(world("DiamondGhost", **SMALL), recall(0.5))
        return envs.Audits(LimitedOverseer(inner, lower_rows), 0.4)

    env, other = make(), make()
    env.reset(seed=0)
    continuation(env, 7)
    other.reset(seed=9)
    other.restore(env.snapshot())
    assert_equal_arrays(continuation(env, 100), continuation(other, 100))


@pytest.mark.parametrize("seed", [3, list(range(8))])
def test_the_seed_determines_the_draws(seed):
    first, second = (
        (trajectory(LimitedOverseer(world("TMaze"), recall(0.5)), seed=seed) for _ in range(2))
        if (isinstance(seed, int))
        else ([LimitedOverseer(world("TMaze"), recall(0.5)).reset(seed=seed)[0]] for _ in range(2))
    )
    assert_equal_arrays(first, second)


def test_a_missed_label_looks_like_the_one_that_the_world_declares(make):
    env = make(1)
    names, judgement, hidden = hidden_labels(env)
    assert names == env.overseer_labels
    assert np.array_equal(hidden[hidden], hidden)
    assert np.array_equal(judgement, env.judgement, equal_nan=True)


def test_without_a_declaration_a_missed_step_looks_like_the_first_label_without_verdict():
    class Plain:
        overseer_labels = ("good", "unclear", "hidden")
        judgement = np.array([1.0, np.nan, np.nan])

    assert hidden_labels(Plain).hidden.tolist() == [1, 1, 1]
    Plain.judgement = np.array([1.0, 0.0, 2.0])
    names, judgement, hidden = hidden_labels(Plain)
    assert names == ("good", "unclear", "hidden", "unseen")
    assert np.isnan(judgement[3])
    assert hidden.tolist() == [3, 3, 3, 3]


def test_the_checker_accepts_a_limited_overseer_of_every_world(make):
    envs.check_vector_env(LimitedOverseer(make(8), recall(0.5)))


@pytest.mark.parametrize("outer", [envs.Audits, envs.Queried])
def test_a_limit_around_audits_is_refused_in_one_line(outer):
    with pytest.raises(ValueError, match=r"^limit 'recall' around audits: put limits inside, world -> limits"):
        LimitedOverseer(outer(world("TMaze"), 0.3), recall(0.5), "recall")


@pytest.mark.parametrize(
    ("result", "line"),
    [
        (lambda label: (np.full(len(label), 1.5), label), "returns probabilities of shape (8,), 1.5 to 1.5"),
        (lambda label: (np.full(3, 0.5), label), "returns probabilities of shape (3,), 0.5 to 0.5"),
        (lambda label: (np.full(len(label), np.nan), label), "returns probabilities of shape (8,), nan to nan"),
        (lambda label: (np.full(len(label), 0.5), label + 9), "returns labels as int64 of shape (8,): return 8 int"),
        (lambda label: (np.full(len(label), 0.5), label / 2), "returns labels as float64 of shape (8,): return 8"),
    ],
    ids=range(5),
)
def test_a_kernel_with_invalid_results_is_refused_in_one_line(result, line):
    env = LimitedOverseer(world("TMaze"), lambda label, *rest, **names: result(label), "mine")
    env.reset(seed=0)
    with pytest.raises(ValueError, match=r"^[^\n]*$") as refusal:
        env.step(np.zeros(8, int))
    assert str(refusal.value).startswith(f"limit 'mine' {line}")


class Foreign(gymnasium.vector.VectorEnv):
    """A third party's vector environment with labels, and state features that its info may lack."""

    metadata = {"autoreset_mode": gymnasium.vector.AutoresetMode.SAME_STEP}  # noqa: RUF012
    num_envs = 4
    single_action_space, single_observation_space = gymnasium.spaces.Discrete(2), gymnasium.spaces.MultiBinary(1)
    overseer_labels, judgement, feature_names = ("bad", "good"), np.array([-1.0, 1.0]), ("x",)

    def __init__(self, **info):
        self.info = info

    def reset(self, *, seed=None, options=None):
        return np.zeros((4, 1), np.int8), {}

    def step(self, actions):
        ends, info = np.zeros(4, bool), {"overseer_obs": np.ones(4, int), "true_reward": np.ones(4), **self.info}
        return np.zeros((4, 1), np.int8), np.ones(4), ends, ends, info


def test_a_third_partys_environment_has_a_label_for_what_is_missed():
    env = LimitedOverseer(Foreign(features=np.array([[0.0], [1.0], [0.0], [1.0]])), lower_x)
    assert env.overseer_labels == ("bad", "good", "unseen")
    env.reset(seed=0)
    *_, info = env.step(np.zeros(4, int))
    assert info["overseer_obs"].tolist() == [1, 2, 1, 2]
    assert np.array_equal(env.verdict(info["overseer_obs"]), [1, np.nan, 1, np.nan], equal_nan=True)
    with pytest.raises(envs.NotEnumerable, match="Foreign has no tables"):
        env.tabulate()


def lower_x(label, verdict, outcome, terminated, features, *, hidden, **names):
    return features[:, 0], hidden[label]


def test_an_environment_without_labels_or_without_its_features_is_refused_in_one_line():
    modes = {"autoreset_mode": gymnasium.vector.AutoresetMode.SAME_STEP}
    cart = gymnasium.make_vec("CartPole-v1", num_envs=2, vectorization_mode="sync", vector_kwargs=modes)
    with pytest.raises(ValueError, match=r"^limit 'lower_x' needs labels, but [^\n]* declares no overseer_labels and"):
        LimitedOverseer(cart, lower_x)
    env = LimitedOverseer(Foreign(), lower_x)
    env.reset(seed=0)
    with pytest.raises(ValueError, match=r"has feature_names, and no 'features' in the info of a step: add them$"):
        env.step(np.zeros(4, int))


def test_too_many_distinct_probabilities_have_no_tables(monkeypatch):
    monkeypatch.setattr("envs.limited.MAX_CELLS", 1000)
    env = LimitedOverseer(world("DiamondGhost", size=3), lower_rows, "mine")
    with pytest.raises(envs.NotEnumerable, match="limit 'mine' has 3 distinct probabilities: round them for tables"):
        env.tabulate()
