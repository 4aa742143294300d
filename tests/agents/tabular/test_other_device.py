"""A learner on another device: nothing of it is left here, and it learns what it would here."""

import numpy as np
import pytest
import torch
from torch.utils._pytree import tree_map

import agents
from agents.saving.run_state import restore, snapshot
from agents.tabular.device_rollout import DeviceRollout
from agents.tabular.policy_table import WholeTable
from tests.agents.other_device import THERE, Elsewhere, There, elsewhere  # noqa: F401

ENV = "keyhole/DiamondGhost-v0"
STEPS = 4_096


def learned(method, algorithm, device, **said):
    """A model on the device; the one here walks as those elsewhere do."""
    env = agents.make_vec_env(ENV, 64, size=3, oversight_prob=0.4)
    model = agents.build(env, method, 0, algorithm=algorithm, device=str(device), width=8, **said)
    if device == "cpu" and algorithm == "reinforce":
        model.walk = DeviceRollout(model.tables, model.n_envs, np.random.default_rng(0), torch.device("cpu"))
        model._table = lambda: WholeTable(model.policy, model.inputs)
    return model.learn(STEPS)


@pytest.mark.parametrize("said", [{}, {"whole_episodes": True}], ids=str)
@pytest.mark.parametrize("method", ["gradient_routing", "reward_model"])
def test_reinforce_learns_elsewhere_what_it_learns_here(elsewhere, method, said):  # noqa: F811
    same(learned(method, "reinforce", elsewhere, **said), learned(method, "reinforce", "cpu", **said))


@pytest.mark.parametrize("said", [{}, {"n_epochs": 1, "batch_size": 2048}], ids=str)
def test_ppo_learns_elsewhere_what_it_learns_here(elsewhere, said):  # noqa: F811
    same(learned("gradient_routing", "ppo", elsewhere, **said), learned("gradient_routing", "ppo", "cpu", **said))


def test_a_state_taken_elsewhere_is_put_back_there(elsewhere):  # noqa: F811
    left = learned("gradient_routing", "reinforce", elsewhere)
    kept = tree_map(lambda x: x.cpu() if isinstance(x, torch.Tensor) else x, snapshot(left))  # as a file gives it back
    taken_up = learned("gradient_routing", "reinforce", elsewhere, learning_rate=0.0)
    restore(taken_up, kept)
    same(taken_up, left)
    moments = [entry["exp_avg"] for entry in taken_up.policy.optimizer.state.values()]
    assert moments
    assert all(moment.device == THERE for moment in moments)


def same(there, here):
    for theirs, ours in zip(there.policy.parameters(), here.policy.parameters(), strict=True):
        assert theirs.device == THERE
        torch.testing.assert_close(theirs.data.cpu(), ours.data.cpu(), rtol=0, atol=0)
    evaluate, _ = agents.make_evaluator(ENV, 0, size=3, oversight_prob=0.4)
    found = [evaluate.each(model.policy, [agents.BlockUse()])[0].true_return for model in (there, here)]
    assert found[0] == found[1]


def test_the_device_refuses_what_a_real_one_refuses():
    with Elsewhere():
        there = torch.ones(3, device=THERE)
        assert isinstance(there, There)
        assert (there * 2 + torch.tensor(1.0)).cpu().tolist() == [3, 3, 3]
        with pytest.raises(RuntimeError, match="same device"):
            there + torch.ones(3)
