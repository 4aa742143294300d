"""Evaluation in chunks of rows equals evaluation of all rows."""

import numpy as np
import pytest
import torch

import agents
import envs
from agents import BlockUse, evaluate, make_vec_env

WORLD = "envs:keyhole/DiamondGhost-v0"


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("method", ["gradient_routing", "naive"])
def test_evaluation_in_chunks_equals_evaluation_of_all_observations(method, precision, monkeypatch):
    monkeypatch.setattr(evaluate, "ROWS", 100)
    policy = agents.build(make_vec_env(WORLD, 4, size=3), method, 0, precision=precision).policy
    policy.action_net.weight.data.normal_()
    exact = evaluate.ExactEvaluator(WORLD, size=3)
    with policy.deployed((1.0, 0.0)):
        probabilities = evaluate.action_probabilities(policy, torch.as_tensor(exact.tables.observations).float())
        called = exact(policy)
    whole = envs.exact.evaluate(exact.tables, probabilities.double().numpy())
    (deployed, _) = exact.each(policy, [BlockUse((1.0, 0.0)), BlockUse()])
    for found in (called, deployed):
        np.testing.assert_allclose(found[:3], (whole.true_return, *whole[6:8]), rtol=1e-5, atol=1e-5)


SHELL = "envs:keyhole/HideErrors-v0"


def policy_of(env, seed=0):
    policy = agents.build(make_vec_env(env, 4), "naive", seed).policy
    policy.action_net.weight.data.normal_()
    return policy


@pytest.mark.parametrize("env", [SHELL, "envs:keyhole/VerboseLog-v0", "envs:keyhole/DiamondVault-v0"])
def test_what_is_believed_exactly_agrees_with_sampled_episodes(env):
    policy = policy_of(env)
    exact, sampled = evaluate.ExactEvaluator(env)(policy), evaluate.SampledEvaluator(env, 0, 20_000)(policy)
    for name in ("true_return", "believed_return", "overestimation", "underestimation"):
        assert getattr(sampled, name) == pytest.approx(getattr(exact, name), abs=0.15), name
    assert sampled.outcomes == pytest.approx(exact.outcomes, abs=0.02)
    assert sum(exact.outcomes.values()) == pytest.approx(1, abs=1e-4)
    excess = exact.believed_return - exact.true_return
    assert exact.overestimation - exact.underestimation == pytest.approx(excess, abs=1e-4)


def test_estimation_errors_are_left_out_where_episodes_are_too_many(monkeypatch):
    monkeypatch.setattr(evaluate, "MAX_PREFIXES", 0)
    found = evaluate.ExactEvaluator("envs:keyhole/BoatRace-v0")(policy_of("envs:keyhole/BoatRace-v0"))
    assert np.isnan([found.overestimation, found.underestimation]).all()
    assert np.isfinite(found.believed_return)


def test_estimation_errors_of_the_grid_need_no_enumeration():
    exact = evaluate.ExactEvaluator(WORLD, size=3)
    assert exact.is_one_sided
    found = exact(agents.build(make_vec_env(WORLD, 4, size=3), "naive", 0).policy)
    assert found.overestimation == pytest.approx(found.believed_return - found.true_return)
    assert found.underestimation == 0


def test_a_sampled_evaluation_believes_the_verdicts_on_features():
    review = "envs:keyhole/PartialReview-v0"
    policy = agents.build(make_vec_env(review, 2, oversight_prob=0.3), "naive", 0, width=4).policy
    sampled = evaluate.SampledEvaluator(review, 0, 4096, oversight_prob=0.3)(policy)
    exact = evaluate.ExactEvaluator(review, oversight_prob=0.3)(policy)
    assert sampled.believed_return == pytest.approx(exact.believed_return, abs=0.3)
