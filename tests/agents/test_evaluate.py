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
