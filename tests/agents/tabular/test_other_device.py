"""A learner on another device has all its tensors on it and learns what it learns on the CPU."""

import numpy as np
import pytest
import torch
from torch.utils._pytree import tree_map

import agents
from agents.saving.run_state import restore_learner, snapshot_learner
from agents.tabular.device_rollout import DeviceRollout
from agents.tabular.policy_table import WholeTable
from tests.agents.other_device import OTHER, OtherDevice, OtherTensor, other_device  # noqa: F401

ENV = "keyhole/DiamondGhost-v0"
STEPS = 4_096


def learned(method, algorithm, device, **options):
    """A trained model. On the CPU, reinforce uses the device's rollout too."""
    env = agents.make_vec_env(ENV, 64, size=3, oversight_prob=0.4)
    model = agents.build(env, method, 0, algorithm=algorithm, device=str(device), width=8, **options)
    if device == "cpu" and algorithm == "reinforce":
        model.table_rollout = DeviceRollout(model.tables, model.n_envs, np.random.default_rng(0), torch.device("cpu"))
        model._make_table = lambda: WholeTable(model.policy, model.inputs)
    return model.learn(STEPS)


@pytest.mark.parametrize("options", [{}, {"whole_episodes": True}], ids=str)
@pytest.mark.parametrize("method", ["gradient_routing", "reward_model"])
def test_reinforce_learns_the_same_on_another_device(other_device, method, options):  # noqa: F811
    assert_same(learned(method, "reinforce", other_device, **options), learned(method, "reinforce", "cpu", **options))


@pytest.mark.parametrize("options", [{}, {"n_epochs": 1, "batch_size": 2048}], ids=str)
def test_ppo_learns_the_same_on_another_device(other_device, options):  # noqa: F811
    assert_same(
        learned("gradient_routing", "ppo", other_device, **options),
        learned("gradient_routing", "ppo", "cpu", **options),
    )


def test_a_state_from_another_device_is_restored_to_it(other_device):  # noqa: F811
    original = learned("gradient_routing", "reinforce", other_device)
    state = tree_map(
        lambda x: x.cpu() if isinstance(x, torch.Tensor) else x, snapshot_learner(original)
    )  # as loaded from a file
    resumed = learned("gradient_routing", "reinforce", other_device, learning_rate=0.0)
    restore_learner(resumed, state)
    assert_same(resumed, original)
    moments = [entry["exp_avg"] for entry in resumed.policy.optimizer.state.values()]
    assert moments
    assert all(moment.device == OTHER for moment in moments)


def assert_same(other, cpu):
    for theirs, ours in zip(other.policy.parameters(), cpu.policy.parameters(), strict=True):
        assert theirs.device == OTHER
        torch.testing.assert_close(theirs.data.cpu(), ours.data.cpu(), rtol=0, atol=0)
    evaluate, _ = agents.make_evaluator(ENV, 0, size=3, oversight_prob=0.4)
    found = [evaluate.each(model.policy, [agents.BlockUse()])[0].true_return for model in (other, cpu)]
    assert found[0] == found[1]


def test_the_simulated_device_refuses_mixed_operands():
    with OtherDevice():
        tensor = torch.ones(3, device=OTHER)
        assert isinstance(tensor, OtherTensor)
        assert (tensor * 2 + torch.tensor(1.0)).cpu().tolist() == [3, 3, 3]
        with pytest.raises(RuntimeError, match="same device"):
            tensor + torch.ones(3)
