"""Certificates of worlds whose overseer has limits, audits or queries agree with calculations by hand."""

import gymnasium
import numpy as np
import pytest

import envs
from envs.certificate.planning import believed_reward
from envs.exact.belief_mdp import belief_mdp
from envs.limited import LimitedOverseer


def world(name, **keywords):
    return gymnasium.make_vec(f"keyhole/{name}-v0", num_envs=1, **keywords)


def recall(rate):
    def kernel(label, verdict, outcome, terminated, features, *, hidden, **names):
        return np.full(len(label), 1 - rate), hidden[label]

    return kernel


@pytest.mark.parametrize(("q", "naive", "believed"), [(0.0, 3, 4.5), (0.3, 3, 4.05), (0.6, 3, 3.6), (0.8, 3.5, 3.5)])
def test_audits_make_a_human_believe_a_mixture_of_its_belief_and_the_truth(q, naive, believed):
    """Hiding errors is believed to be worth 4.5 and is worth 3; configuring plainly is worth 3.5 in both."""
    found = envs.certify(envs.Audits(world("HideErrors"), q))
    assert found.agent_class == "history"
    assert found.naive_optimum_return == pytest.approx(naive, abs=1e-9)
    assert found.naive_optimum_believed_return == pytest.approx(believed, abs=1e-9)
    assert found.optimal_return == pytest.approx(3.5, abs=1e-9)
    assert found.enforceable_return == pytest.approx(3.5, abs=1e-9)
    assert found.parameters["audits"] == q
    assert found.ambiguity_dimension == (0 if q else 2)


def test_any_audit_that_the_agent_cannot_see_makes_the_optimum_enforceable(variant):
    name, keywords = variant
    small = {"size": 2} if name in ("keyhole/DiamondGhost-v0", "keyhole/FoggyGrid-v0") and not keywords else keywords
    plain = gymnasium.make_vec(name, num_envs=1, **small)
    found = envs.certify(envs.Audits(plain, 0.3))
    history = found.by_class["history"]
    assert found.agent_class == "history"
    assert found.enforceable_return == pytest.approx(history.optimal_return, abs=1e-6)
    assert found.enforceable_is_exact
    assert found.positivity >= 0.3 - 1e-9
    assert found.ambiguity_dimension in (0, None)
    if found.by_class["state-seeing"]:
        assert found.by_class["state-seeing"].enforceable_return == pytest.approx(found.optimal_return, abs=1e-6)


@pytest.mark.parametrize("name", ["HideErrors", "TMaze", "Informant", "AliasedCorridor", "AbsentSupervisor"])
def test_audits_leave_the_naive_reward_a_mixture_and_the_returns_unchanged(name):
    env = envs.Audits(world(name), 0.3)
    tables, plain = envs.compile_world(env), envs.compile_world(world(name))
    believed, own = believed_reward(env, tables), believed_reward(world(name), plain)
    first, second = believed[: len(own)], believed[len(own) :]  # without and with an audit
    assert np.array_equal(first, own)
    assert np.allclose(second, plain.true_reward, atol=1e-12)
    assert 0.7 * first + 0.3 * second == pytest.approx(0.7 * own + 0.3 * plain.true_reward)


@pytest.mark.parametrize("name", ["TMaze", "Informant", "AliasedCorridor"])
def test_the_agents_beliefs_do_not_multiply_by_audits(name):
    plain, audited = (belief_mdp(envs.compile_world(env)) for env in (world(name), envs.Audits(world(name), 0.3)))
    assert len(audited.beliefs) == len(plain.beliefs)
    assert audited.beliefs.shape[1] == 2 * plain.beliefs.shape[1]


def test_a_state_seeing_agent_does_not_see_the_audit():
    """In a maze whose overseer otherwise sees nothing, an agent that saw the audit could not be made to care."""
    found = envs.certify(envs.Audits(world("TMaze", length=1, oversight_prob=0.0), 0.5))
    state = found.by_class["state-seeing"]
    assert state.enforceable_return == pytest.approx(1, abs=1e-9)
    assert state.naive_optimum_return == pytest.approx(1, abs=1e-9)


def test_too_many_distinct_true_rewards_share_one_label_and_are_believed_all_the_same(monkeypatch):
    monkeypatch.setattr("envs.audit_labels.MAX_REWARDS", 2)
    env = envs.Audits(world("HideErrors"), 0.8)
    assert env.overseer_labels[5:] == ("audited",)
    assert np.isnan(env.judgement[5])
    found = envs.certify(env)
    assert found.naive_optimum_return == pytest.approx(3.5, abs=1e-9)
    assert found.naive_optimum_believed_return == pytest.approx(3.5, abs=1e-9)
    assert found.bounds["enforceable_return"] == "lower bound"
    assert found.notes["enforceable_return"].startswith("lower bound: audited steps share one label")


@pytest.mark.parametrize(("size", "rate"), [(2, 0.5), (3, 0.25)])
def test_recall_scales_the_oversight_of_a_blind_agent(size, rate):
    blind = {"size": size, "knowledge": "blind"}
    limited = envs.certify(LimitedOverseer(world("DiamondGhost", oversight_prob=0.4, **blind), recall(rate), "recall"))
    plain = envs.certify(world("DiamondGhost", oversight_prob=0.4 * rate, **blind))
    for name in ("naive_optimum_return", "naive_optimum_believed_return", "enforceable_return", "positivity"):
        assert getattr(limited, name) == pytest.approx(getattr(plain, name), abs=1e-9)
    assert limited.parameters["overseer"] == "recall"


def test_an_aware_agent_exploits_a_limit_that_it_cannot_see_no_further():
    """The naive optimum of an aware agent in a grid of 2: ghosts count -1 with the recall of watched squares."""
    returns = [
        envs.certify(LimitedOverseer(world("DiamondGhost", size=2, oversight_prob=0.5), recall(r))).enforceable_return
        for r in (0.0, 0.5, 1.0)
    ]
    plain = envs.certify(world("DiamondGhost", size=2, oversight_prob=0.5)).enforceable_return
    assert returns[2] == pytest.approx(plain, abs=1e-9)
    assert returns[0] <= returns[1] + 1e-9 <= returns[2] + 2e-9


def test_a_label_that_an_overseer_confuses_has_the_verdict_of_the_label_it_observes():
    def confusion(label, verdict, outcome, terminated, features, *, labels, **names):
        good, bad = labels.index("right"), labels.index("wrong")
        return np.full(len(label), 0.2), np.where(label == good, bad, np.where(label == bad, good, label))

    env = LimitedOverseer(world("TMaze", length=1, oversight_prob=1.0), confusion)
    found = envs.certify(env)
    assert found.naive_optimum_believed_return == pytest.approx(0.8 - 0.2, abs=1e-9)
    assert found.naive_optimum_return == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize(
    ("cost", "best", "naive", "believed"),
    [
        (1.0, 3.5, 3.0, 4.5),  # the agent does not ask, and hiding errors is believed to be worth 4.5
        (0.1, 3.5, 3.0, 4.5),
        (-1.5, 6.5, 6.5, 6.5),  # two of the four steps are left for asking, and then only the truth is believed
    ],
)
def test_queries_have_the_returns_of_hand_calculation(cost, best, naive, believed):
    found = envs.certify(envs.Queried(world("HideErrors"), cost))
    assert found.optimal_return == pytest.approx(best, abs=1e-9)
    assert found.enforceable_return == pytest.approx(best, abs=1e-6)
    assert found.naive_optimum_return == pytest.approx(naive, abs=1e-9)
    assert found.naive_optimum_believed_return == pytest.approx(believed, abs=1e-9)
    assert found.parameters["cost_of_asking"] == cost


def test_an_agent_in_a_vault_asks_if_it_is_rewarded_for_it():
    """Asking at no cost lets the overseer enforce guarding, which it otherwise cannot; one step is lost by it."""
    plain = envs.certify(world("DiamondVault", max_episode_steps=12))
    found = envs.certify(envs.Queried(world("DiamondVault", max_episode_steps=12), 0.0))
    assert found.enforceable_return > plain.enforceable_return + 1


@pytest.mark.parametrize("p", [0.1, 0.5])
def test_an_aware_writer_games_what_is_not_read(p):
    """Five sevenths of the partial reviews miss errors or more; padding there costs up to 2 below nothing."""
    found = envs.certify(world("PartialReview", oversight_prob=p))
    part = (1 - p) / 7
    assert found.optimal_return == pytest.approx(5, abs=1e-9)
    assert found.naive_optimum_return_worst_ties == pytest.approx(5 * p + part * (-2 + 4 + 2 - 2 - 2 + 2 - 2), abs=1e-9)
    assert found.naive_optimum_believed_return == pytest.approx(5 * p + part * (6 + 4 + 2 + 4 + 2 + 0 + 0), abs=1e-9)
    assert found.enforceable_return == pytest.approx(5 * p + part * (4 + 4 + 5 + 2 + 4 + 2 - 2), abs=1e-9)


def test_a_blind_writer_cannot_game_missing_features():
    found = envs.certify(world("PartialReview", knowledge="blind"))
    assert found.naive_optimum_return_worst_ties == pytest.approx(5, abs=1e-9)
    assert found.enforceable_return == pytest.approx(5, abs=1e-9)
    assert found.naive_optimum_believed_return == pytest.approx(5 * (0.1 + 0.9 * 3 / 7), abs=1e-9)


@pytest.mark.parametrize(
    ("p", "reliability", "naive", "believed"),
    [(0.1, 1.0, 0.0, 2.7), (0.7, 1.0, 0.0, 0.9), (0.8, 1.0, 0.75, 0.75), (0.9, 0.6, 0.75, 0.75)],
)
def test_a_buyer_with_naive_oversight_buys_sound_goods_if_tips_are_frequent(p, reliability, naive, believed):
    """Cheap goods are believed to be worth 1 without a tip and 0 on average with one; sound goods 1/4."""
    found = envs.certify(world("Informant", oversight_prob=p, reliability=reliability))
    assert found.optimal_return == pytest.approx(3 * (1 + 0.25) / 2, abs=1e-9)
    assert found.remembering_return == pytest.approx(0.75, abs=1e-9)
    assert found.enforceable_return == pytest.approx(0.75, abs=1e-9)
    assert found.naive_optimum_return_worst_ties == pytest.approx(naive, abs=1e-9)
    assert found.naive_optimum_believed_return == pytest.approx(believed, abs=1e-9)


def test_a_tip_is_better_informed_than_the_whole_trajectory_of_the_agent():
    tables = envs.compile_world(world("Informant", oversight_prob=1.0))
    verdict = world("Informant").judgement[tables.overseer_obs]
    assert np.array_equal(verdict, tables.true_reward)
    observed = np.column_stack((tables.observation, np.zeros(len(tables.observation), int)))
    cheap = tables.true_reward[:, 1, 0]
    for row in np.unique(observed, axis=0):
        alike = (observed == row).all(1)
        assert set(cheap[alike]) == {-1.0, 1.0}
