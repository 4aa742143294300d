"""The probability that a rewarded ending is judged, by what the agent observes of it."""

import gymnasium
import numpy as np
import pytest

import agents
import envs
from envs.positivity import judged_probability, unjudgeable_share

GHOST = "envs:keyhole/DiamondGhost-v0"


def judged(env):
    return judged_probability(envs.compile_world(env), env.judgement, env.flags)


@pytest.mark.parametrize("p", [0.0, 0.003, 0.1, 0.5, 1.0])
@pytest.mark.parametrize("regime", ["state_square", "iid_episode"])
def test_every_ending_of_the_grid_is_judged_with_the_oversight_probability(p, regime):
    env = agents.make_world(GHOST, 1, oversight_prob=p, size=3, regime=regime, knowledge="aware")
    found = judged(env)
    assert len(found) == 2 * 9 * 8 * 7 // 7  # a ghost or a diamond is reached, and the other one is elsewhere
    assert found == pytest.approx(p, abs=1e-12)
    assert unjudgeable_share(env) == (p == 0)


def test_with_the_flags_as_part_of_the_observation_an_unwatched_ending_is_never_judged():
    env = agents.make_world(GHOST, 1, oversight_prob=0.1, size=3)
    found = judged_probability(envs.compile_world(env), env.judgement, np.zeros_like(env.flags))
    assert set(found.tolist()) == {0.0, 1.0}


def test_ghosts_of_the_right_two_columns_are_never_judged_if_the_overseer_never_sees_them():
    limits = "recall(0,of=ghost,feature=column,low=3)"
    env = agents.make_world(GHOST, 1, oversight_prob=0.1, overseer=limits)
    found = judged(env)
    assert len(found) == 2 * 25 * 24
    assert (found == 0).sum() == 10 * 24  # the ghost is in one of 10 cells, and the diamond in any other
    assert found[found > 0] == pytest.approx(0.1, abs=1e-12)
    assert unjudgeable_share(env) == pytest.approx(0.2, abs=0.05)


@pytest.mark.parametrize(
    ("overseer", "share"),
    [("recall(0.5)", 0.0), ("recall(0,feature=column,low=0)", 1.0), ("one_sided(bad)", 0.5), ("noise(0.3)", 0.0)],
)
def test_limits_decide_what_can_be_judged(overseer, share):
    env = agents.make_world(GHOST, 1, oversight_prob=0.3, overseer=overseer, size=3)
    assert unjudgeable_share(env) == pytest.approx(share, abs=1e-9)


def test_audits_judge_every_ending_whose_true_reward_is_not_zero():
    errors = agents.make_world("envs:keyhole/HideErrors-v0", 1, oversight_prob=0.25)
    stopped, *others = np.sort(judged(errors))
    assert stopped == 0  # believed to be bad, and worth nothing
    assert others == pytest.approx([0.25, 1, 1, 1])
    unaudited = agents.make_world("envs:keyhole/HideErrors-v0", 1)
    assert np.sort(judged(unaudited)) == pytest.approx([0, 0, 1, 1, 1])
    assert 0 < unjudgeable_share(errors) < unjudgeable_share(unaudited) < 1


def test_an_audit_that_has_no_label_for_each_reward_judges_as_well(monkeypatch):
    monkeypatch.setattr("envs.audit_labels.MAX_REWARDS", 1)
    env = agents.make_world("envs:keyhole/HideErrors-v0", 1, oversight_prob=0.25)
    assert np.isnan(env.judgement[env.audit_label])
    assert unjudgeable_share(env) == 0
    assert judged(env).min() == 0


@pytest.mark.parametrize("name", ["DiamondVault", "BoatRace"])
def test_a_world_without_terminal_states_has_no_classes(name):
    env = gymnasium.make_vec(f"keyhole/{name}-v0", num_envs=1)
    assert judged(env).shape == (0,)
    assert unjudgeable_share(env) == 0.0
