import numpy as np
import pytest
import torch
from stable_baselines3 import PPO
from stable_baselines3.common.env_util import make_vec_env

from agents.learners.labelled_buffer import LabelledRolloutBuffer
from routing import Regions, Router, Rules, module, moved, snapshot

SETTINGS = {"n_steps": 64, "batch_size": 64, "n_epochs": 3, "seed": 0, "device": "cpu"}


def halves(buffer) -> np.ndarray:
    """Label even copies 0 and odd copies 1."""
    return np.tile(np.arange(buffer.n_envs) % 2, (buffer.buffer_size, 1))


def learner(weights=None, level="activation", label=halves, **kwargs) -> PPO:
    """Stable-Baselines3's PPO on CartPole, routed if weights are given."""
    buffer = {"rollout_buffer_class": LabelledRolloutBuffer, "rollout_buffer_kwargs": {"label": label}}
    model = PPO("MlpPolicy", make_vec_env("CartPole-v1", 4, seed=0), **{**SETTINGS, **kwargs}, **buffer)
    if weights is not None:
        regions = Regions(model.policy, {"actor": module("mlp_extractor.policy_net"), "critic": module("value_net")})
        model.rollout_buffer.router = Router(model.policy, Rules(regions, ("even", "odd"), weights), level)
    return model


def parameters(model) -> torch.Tensor:
    return torch.nn.utils.parameters_to_vector(model.policy.parameters()).detach()


@pytest.fixture(scope="module")
def plain() -> torch.Tensor:
    env = make_vec_env("CartPole-v1", 4, seed=0)
    return parameters(PPO("MlpPolicy", env, **SETTINGS).learn(1024))


def test_unit_rules_leave_ppo_unchanged_bit_for_bit(plain):
    assert torch.equal(parameters(learner().learn(1024)), plain)
    assert torch.equal(parameters(learner({}).learn(1024)), plain)


@pytest.mark.parametrize("level", ["activation", "parameter"])
def test_a_region_that_no_label_trains_moves_exactly_nothing(level, plain):
    model = learner({"even": {"actor": 0.0}, "odd": {"actor": 0.0}}, level)
    regions = model.rollout_buffer.router.rules.regions
    before = snapshot(regions)
    model.learn(1024)
    change = moved(before, snapshot(regions))
    assert change["actor"] == 0
    assert change["critic"] > 0


def test_labels_apply_to_their_own_samples():
    """After one step, the rewards of masked copies affect only parameters outside the masked region."""
    one_step = {"n_epochs": 1, "batch_size": 256, "normalize_advantage": False, "max_grad_norm": 1e9}

    def update(poison: float) -> PPO:
        def label(buffer) -> np.ndarray:
            buffer.rewards[:, 1::2] += poison
            return halves(buffer)

        return learner({"odd": {"actor": 0.0}}, label=label, **one_step).learn(256)

    first, second = update(0.0).policy.state_dict(), update(7.0).policy.state_dict()
    same = {name: torch.equal(value, second[name]) for name, value in first.items()}
    assert same.pop("mlp_extractor.policy_net.0.weight")
    assert same.pop("mlp_extractor.policy_net.2.bias")
    assert not same.pop("action_net.weight")
    assert not same.pop("value_net.weight")


def test_training_that_stops_early_leaves_the_policy_unrouted():
    model = learner({"even": {"actor": 0.0}}, "parameter", target_kl=1e-9).learn(256)
    assert all("forward" not in layer.__dict__ for layer in model.policy.modules())
    obs = model.policy.obs_to_tensor(np.zeros((3, 4), np.float32))[0]
    model.policy.get_distribution(obs)  # outside, three samples need no labels


def test_labels_of_another_shape_are_refused():
    model = learner({}, label=lambda buffer: np.zeros(buffer.buffer_size, int))
    with pytest.raises(ValueError, match="one for each step of each copy"):
        model.learn(256)
