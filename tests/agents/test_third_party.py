"""The names of Stable-Baselines3 and torch that agents use without being documented still exist and mean the same."""

import numpy as np
import pytest
import torch
from stable_baselines3 import PPO
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.env_util import make_vec_env as make_sb3_env
from stable_baselines3.common.logger import configure
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.policies import ActorCriticPolicy

import agents
from agents import RoutedPPO, onednn

WORLD = {"size": 2, "oversight_prob": 0.5}


def learner(algorithm: str = "ppo", **settings) -> RoutedPPO:
    env = agents.make_vec_env("envs:keyhole/DiamondGhost-v0", 4, **WORLD)
    return agents.build(env, "gradient_routing", 0, algorithm=algorithm, n_steps=8, width=8, **settings)


@pytest.mark.parametrize(
    ("owner", "name"),
    [
        (BaseAlgorithm, "_update_info_buffer"),
        (BaseAlgorithm, "_excluded_save_params"),
        (BaseAlgorithm, "_update_learning_rate"),
        (OnPolicyAlgorithm, "_setup_model"),
        (PPO, "_setup_model"),
        (RolloutBuffer, "_get_samples"),
        (RolloutBuffer, "swap_and_flatten"),
        (ActorCriticPolicy, "_build"),
        (ActorCriticPolicy, "_build_mlp_extractor"),
        (ActorCriticPolicy, "_get_constructor_parameters"),
        (ActorCriticPolicy, "_get_action_dist_from_latent"),
    ],
)
def test_a_method_that_agents_override_or_call_exists(owner, name):
    assert callable(getattr(owner, name))


def test_a_trained_ppo_has_every_attribute_that_a_snapshot_reads():
    model = PPO("MlpPolicy", make_sb3_env("CartPole-v1", 2, seed=0), n_steps=8, batch_size=16, n_epochs=3, device="cpu")
    model.set_logger(configure(None, []))
    model.learn(32)
    assert model._n_updates == 2 * 3
    assert model._last_obs.shape == (2, 4)
    assert model._last_episode_starts.shape == (2,)
    assert model._current_progress_remaining == 0
    assert isinstance(model._episode_num, int)
    assert model._stats_window_size == model.ep_info_buffer.maxlen == 100
    assert "train/explained_variance" in model.logger.name_to_value


def test_each_step_records_one_overseer_view_just_before_it_is_added(monkeypatch):
    model, calls = learner(), []
    record, add = model.rollout_buffer.record_overseer_view, RolloutBuffer.add

    def recorded(env, dones):
        calls.append("view")
        record(env, dones)

    def added(buffer, *args):
        calls.append("add")
        add(buffer, *args)

    monkeypatch.setattr(model.rollout_buffer, "record_overseer_view", recorded)
    monkeypatch.setattr(RolloutBuffer, "add", added)
    model.learn(2 * 8 * 4)
    assert calls == ["view", "add"] * 16


def test_an_algorithm_that_adds_a_step_without_its_view_is_stopped(monkeypatch):
    model = learner()
    monkeypatch.setattr(RoutedPPO, "_update_info_buffer", BaseAlgorithm._update_info_buffer)
    with pytest.raises(RuntimeError, match="added without its overseer view"):
        model.learn(8)


def test_an_algorithm_that_records_a_view_twice_is_stopped(monkeypatch):
    model = learner()
    monkeypatch.setattr(
        RoutedPPO,
        "_update_info_buffer",
        lambda model, infos, dones: [model.rollout_buffer.record_overseer_view(model.env, dones) for _ in range(2)],
    )
    with pytest.raises(RuntimeError, match="two overseer views"):
        model.learn(8)


def test_a_callback_that_stops_within_a_rollout_leaves_the_buffer_usable():
    from stable_baselines3.common.callbacks import BaseCallback

    class StopAt(BaseCallback):
        def _on_step(self) -> bool:
            return self.num_timesteps != 12

    model = learner()
    model.learn(64, callback=StopAt())
    model.learn(64)
    assert model.num_timesteps == 64


def test_rewards_changed_after_add_enter_the_returns():
    """The buffer edits `rewards` before the base class estimates advantages from them."""
    buffer = RolloutBuffer(2, *spaces(), device="cpu", gae_lambda=1.0, gamma=0.5, n_envs=1)
    for _ in range(2):
        buffer.add(np.zeros((1, 3)), np.zeros((1, 1)), np.ones(1), np.zeros(1), torch.zeros(1), torch.zeros(1))
    buffer.rewards += 1
    buffer.compute_returns_and_advantage(torch.zeros(1), np.ones(1, bool))
    assert buffer.returns.ravel().tolist() == [3.0, 2.0]


def test_the_base_buffer_flattens_the_names_that_whole_flattens():
    buffer = RolloutBuffer(2, *spaces(), device="cpu", n_envs=3)
    before = {name for name, value in vars(buffer).items() if isinstance(value, np.ndarray) and value.ndim > 1}
    assert before == {
        "observations",
        "actions",
        "values",
        "log_probs",
        "advantages",
        "returns",
        "rewards",
        "episode_starts",
    }
    buffer.full = True
    next(buffer.get())
    changed = {name for name in before if len(vars(buffer)[name]) == 6}
    assert changed == {"observations", "actions", "values", "log_probs", "advantages", "returns"}


def spaces():
    from gymnasium.spaces import Box, Discrete

    return Box(-1, 1, (3,)), Discrete(2)


def test_the_precision_of_float32_products_is_a_setting_of_torch():
    before = torch.backends.mkldnn.matmul.fp32_precision
    with onednn._allow_rounding(True):
        assert torch.backends.mkldnn.matmul.fp32_precision == "bf16"
    assert torch.backends.mkldnn.matmul.fp32_precision == before
