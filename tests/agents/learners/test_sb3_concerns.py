"""What Stable-Baselines3 tests of its own PPO, for RoutedPPO and OnePassPPO without an overseer."""

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from stable_baselines3.common.callbacks import BaseCallback, CheckpointCallback, EvalCallback
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.logger import configure
from stable_baselines3.common.vec_env import VecFrameStack, VecMonitor, VecNormalize

import agents
from agents import BlockPolicy, RoutedPPO
from agents.learners.nan_guard import NotFiniteError
from agents.learners.one_pass_ppo import OnePassPPO
from agents.learners.reinforce import RoutedReinforce
from agents.learners.routed_buffer import RoutedRolloutBuffer
from envs.snapshot import SnapshotUnsupported
from routing import PARTS
from tests.agents.learners.test_drop_in import OURS, SMALL, Counting, box, observed
from tests.agents.space_worlds import WORLD as CORRIDOR

WORLD = "envs:keyhole/DiamondGhost-v0"


def world(n: int = 4, **kwargs):
    return agents.make_vec_env(WORLD, n, **{"size": 2, "oversight_prob": 0.5, **kwargs})


def parameters(model) -> torch.Tensor:
    return torch.nn.utils.parameters_to_vector(model.policy.parameters()).detach().clone()


@pytest.mark.parametrize("algorithm", OURS)
def test_a_loaded_model_predicts_and_continues_as_the_saved_one(algorithm, tmp_path):
    model = algorithm("MlpPolicy", box(), clip_range_vf=0.1, target_kl=0.5, **SMALL).learn(32)
    model.save(tmp_path / "model")
    loaded = algorithm.load(tmp_path / "model", env=box())
    obs = np.random.default_rng(0).uniform(-1, 1, (5, 3)).astype(np.float32)
    np.testing.assert_array_equal(model.predict(obs, deterministic=True)[0], loaded.predict(obs, deterministic=True)[0])
    assert (loaded.target_kl, loaded.clip_range_vf(1.0), loaded.n_steps) == (0.5, 0.1, 16)
    before = parameters(loaded)
    assert torch.equal(before, parameters(model))
    loaded.learn(32, reset_num_timesteps=False)
    assert loaded.num_timesteps == 64
    assert not torch.equal(parameters(loaded), before)


def test_a_method_given_to_load_replaces_the_saved_one(tmp_path):
    RoutedPPO(BlockPolicy, world(), method="naive", **SMALL).save(tmp_path / "model")
    loaded = RoutedPPO.load(tmp_path / "model", env=world(8), method="filtering")
    assert loaded.treat.functions["weights"] is PARTS["weights"]["seen"].function
    assert loaded.learn(8 * 64).rollout_buffer.weights.min() == 0


def test_a_loss_of_nan_is_named_without_an_overseer():
    env = observed(spaces.Box(-1, 1, (3,)))
    with pytest.raises(NotFiniteError, match=r"update 0: the loss \(nan\)"):
        RoutedPPO("MlpPolicy", env, vf_coef=float("nan"), **SMALL).learn(32)


@pytest.mark.parametrize("settings", [{"precision": "bf16"}, {"network": "adapters", "level": "parameter"}], ids=str)
def test_blocks_of_each_kind_take_gaussian_actions(settings):
    model = RoutedPPO("BlockPolicy", box(), policy_kwargs={**NETWORK, **settings}, **SMALL).learn(32)
    assert all(torch.isfinite(p).all() for p in model.policy.parameters())


def test_the_adapter_of_an_environment_without_overseer_trains_untreated():
    copies = SyncVectorEnv([lambda: gymnasium.make("CartPole-v1")] * 2, autoreset_mode=AutoresetMode.SAME_STEP)
    model = OnePassPPO("MlpPolicy", agents.GymnasiumVecEnv(copies), **SMALL).learn(64)
    assert model.num_timesteps == 64
    assert model.overseer_env is None


@pytest.mark.parametrize("env", ["CartPole-v1", gymnasium.make("CartPole-v1")], ids=["id", "environment"])
def test_an_environment_may_be_an_id_or_a_single_one(env):
    assert RoutedPPO("MlpPolicy", env, max_grad_norm=None, ent_coef=0.1, final_ent_coef=0.01, **SMALL).learn(16)


def test_a_users_buffer_survives_saving_and_loading(tmp_path):
    buffer = {"rollout_buffer_class": Counting, "rollout_buffer_kwargs": {"start": 7}}
    RoutedPPO("MlpPolicy", box(), **buffer, **SMALL).save(tmp_path / "model")
    assert RoutedPPO.load(tmp_path / "model", env=box()).rollout_buffer.started == 7


@pytest.mark.parametrize("algorithm", OURS)
def test_equal_seeds_learn_the_same_and_others_do_not(algorithm):
    first, second = (parameters(algorithm("MlpPolicy", box(), **SMALL).learn(32)) for _ in range(2))
    assert torch.equal(first, second)
    assert not torch.equal(first, parameters(algorithm("MlpPolicy", box(), **SMALL | {"seed": 4}).learn(32)))


@pytest.mark.parametrize("algorithm", OURS)
def test_advantages_are_those_of_the_closed_form(algorithm):
    """delta_t + gamma lambda delta_{t+1} + ..., Schulman et al. 2016 (arXiv 1506.02438), equation 16."""
    model = algorithm("MlpPolicy", observed(spaces.Box(-1, 1, (3,)), n=1), gamma=0.9, gae_lambda=0.8, **SMALL)
    model.learn(16)
    buffer = model.rollout_buffer
    values, rewards, starts = buffer.values.ravel(), buffer.rewards.ravel(), buffer.episode_starts.ravel()
    ahead, continues = np.append(values[1:], np.nan), np.append(1 - starts[1:], np.nan)
    delta = rewards + 0.9 * ahead * continues - values
    for t in range(10):
        expected, weight = 0.0, 1.0
        for k in range(t, 15):
            expected += weight * delta[k]
            weight *= 0.72 * continues[k]
        if weight == 0:  # the episode ended in the rollout
            np.testing.assert_allclose(buffer.advantages.ravel()[t], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("algorithm", OURS)
def test_the_logger_writes_what_was_recorded(algorithm, tmp_path):
    model = algorithm("MlpPolicy", box(), clip_range_vf=0.2, **SMALL)
    model.set_logger(configure(str(tmp_path), ["csv"]))
    model.learn(64)
    header = (tmp_path / "progress.csv").read_text().splitlines()[0]
    for name in ("loss", "clip_fraction", "clip_range", "clip_range_vf", "approx_kl", "std", "explained_variance"):
        assert f"train/{name}" in header


class StopAt(BaseCallback):
    def __init__(self, steps: int) -> None:
        super().__init__()
        self.steps = steps

    def _on_step(self) -> bool:
        return self.num_timesteps < self.steps


@pytest.mark.parametrize("algorithm", OURS)
@pytest.mark.parametrize("overseen", [False, True])
def test_callbacks_evaluate_save_and_stop(algorithm, overseen, tmp_path):
    env, other = (world(2), world(2)) if overseen else (box(), box())
    policy = BlockPolicy if overseen else "MlpPolicy"
    model = algorithm(policy, env, **SMALL)
    evaluation = EvalCallback(other, eval_freq=8, n_eval_episodes=3, best_model_save_path=str(tmp_path), verbose=0)
    saving = CheckpointCallback(16, str(tmp_path), verbose=0)
    model.learn(128, callback=[evaluation, saving, StopAt(80)])
    assert model.num_timesteps == 80
    assert np.isfinite(evaluation.best_mean_reward)
    assert (tmp_path / "best_model.zip").exists()
    assert (tmp_path / "rl_model_64_steps.zip").exists()
    assert isinstance(algorithm.load(tmp_path / "rl_model_64_steps.zip", env=env), algorithm)


@pytest.mark.parametrize("algorithm", OURS)
def test_checkpoints_visit_a_run_without_overseer(algorithm):
    seen = []
    callback = agents.Checkpoints(64, 2, lambda step, metrics: seen.append((step, metrics)))
    algorithm("MlpPolicy", box(), **SMALL).learn(64, callback=callback)
    assert [step for step, _ in seen] == [0, 32, 64]
    assert "train/approx_kl" in seen[-1][1]


@pytest.mark.parametrize("algorithm", OURS)
def test_parameters_are_exchanged_by_set_parameters(algorithm):
    first, second = (algorithm(BlockPolicy, box(), **SMALL | {"seed": seed}) for seed in (0, 1))
    second.set_parameters(first.get_parameters())
    assert torch.equal(parameters(first), parameters(second))


@pytest.mark.parametrize("algorithm", OURS)
def test_predict_takes_one_observation_and_many(algorithm):
    model = algorithm(BlockPolicy, box(), **SMALL)
    assert model.predict(np.zeros(3, np.float32))[0].shape == (2,)
    assert model.predict(np.zeros((5, 3), np.float32))[0].shape == (5, 2)


def test_a_policy_alone_survives_saving_and_loading(tmp_path):
    policy = RoutedPPO(BlockPolicy, box(), policy_kwargs={"level": "parameter", "network": "ungated"}, **SMALL).policy
    policy.save(tmp_path / "policy.pt")
    loaded = BlockPolicy.load(tmp_path / "policy.pt")
    assert (loaded.level, loaded.network) == ("parameter", "ungated")
    obs = np.ones((2, 3), np.float32)
    np.testing.assert_array_equal(
        policy.predict(obs, deterministic=True)[0], loaded.predict(obs, deterministic=True)[0]
    )


@pytest.mark.parametrize("algorithm", [*OURS, RoutedReinforce])
def test_set_env_uses_the_overseer_of_the_new_environment(algorithm):
    settings = {**SMALL, "method": "oracle"}
    model = algorithm(BlockPolicy, world(), **settings)
    model.learn(64)
    used = model.labels_used
    other = world(oversight_prob=0.0)
    model.set_env(other)
    assert model.overseer_env is other
    assert model.labels_used == used
    model.learn(64, reset_num_timesteps=False)
    assert model.num_timesteps == 128


def test_set_env_to_one_without_overseer_trains_untreated_and_back():
    env = observed(spaces.MultiBinary((5, 2, 2)), spaces.Discrete(4), 4)
    model = OnePassPPO(BlockPolicy, world(), method="filtering", **SMALL)
    model.set_env(env)
    assert not isinstance(model.rollout_buffer, RoutedRolloutBuffer)
    model.learn(64)
    assert model.oversight_metrics == {}
    model.set_env(world())
    model.learn(64)
    assert "oversight/labels_used" in model.oversight_metrics


def test_reinforce_without_overseer_trains_as_ppo():
    model = RoutedReinforce("MlpPolicy", box(), **SMALL)
    assert not model.tabular
    model.learn(32)
    assert model.num_timesteps == 32


def test_a_method_for_an_environment_without_overseer_is_logged(caplog):
    RoutedPPO("MlpPolicy", box(), method="gradient_routing", **SMALL)
    assert "no overseer, so method 'gradient_routing' changes nothing" in caplog.text


def corridors(n: int = 8):
    """An overseen environment with Box observations, which wrappers of observations need."""
    return agents.make_vec_env(CORRIDOR, n, kind="box")


@pytest.mark.filterwarnings("ignore:The environment is already wrapped with a `Monitor` wrapper")
@pytest.mark.parametrize(
    "wrapper", [VecMonitor, lambda env: VecNormalize(env, norm_reward=False), lambda env: VecFrameStack(env, 2)]
)
@pytest.mark.parametrize("algorithm", OURS)
def test_an_overseer_under_wrappers_is_found_and_judges(algorithm, wrapper):
    model = algorithm(BlockPolicy, wrapper(corridors()), method="gradient_routing", **SMALL)
    model.learn(8 * 64)
    assert model.labels_used > 0


def test_what_an_overseer_does_not_allow_is_refused_in_one_line():
    with pytest.raises(ValueError, match="VecNormalize changes the rewards"):
        RoutedPPO(BlockPolicy, VecNormalize(corridors()), **SMALL)
    with pytest.raises(ValueError, match="rollout_buffer_class and rollout_buffer_kwargs conflict"):
        RoutedPPO(BlockPolicy, world(), rollout_buffer_class=Counting, **SMALL)
    with pytest.raises(ValueError, match="trains a gate, which ActorCriticPolicy lacks"):
        RoutedPPO("MlpPolicy", world(), method="gradient_routing", **SMALL)
    with pytest.raises(ValueError, match="trains a gate, which BlockPolicy lacks"):
        RoutedPPO(BlockPolicy, world(), method="gradient_routing", policy_kwargs={"network": "ungated"}, **SMALL)


def test_a_policy_without_blocks_trains_under_methods_that_mask_nothing():
    for method in ("naive", "filtering", "reward_model"):
        assert RoutedPPO("MlpPolicy", world(), method=method, **SMALL).learn(64).num_timesteps == 64


def test_a_policy_without_blocks_is_refused_when_a_method_masks_gradients():
    model = RoutedPPO("MlpPolicy", world(8), method="no_gate", **SMALL)
    with pytest.raises(ValueError, match="masks gradients of blocks, which ActorCriticPolicy lacks"):
        model.learn(8 * 128)


@pytest.mark.parametrize("settings", [{"target_kl": 1e-7}, {"clip_range_vf": 1e-4}], ids=str)
def test_reinforce_on_tables_obeys_arguments_of_ppo(settings):
    def model(**extra):
        env = world(16)
        return agents.build(env, "naive", 0, n_steps=16, width=8, n_epochs=8, learning_rate=0.03, **extra)

    plain, changed = model().learn(512), model(**settings).learn(512)
    assert plain.tabular
    assert not torch.equal(parameters(plain), parameters(changed))
    if "target_kl" in settings:
        assert plain._n_updates == 16
        assert changed._n_updates == 4  # two epochs of each rollout: the first does not move away from itself


def test_a_policy_with_a_convolutional_extractor_learns_its_features_and_one_that_flattens_does_not():
    from stable_baselines3.common.torch_layers import NatureCNN

    env = observed(spaces.Box(0, 255, (1, 36, 36), np.uint8), n=1)
    policy = RoutedPPO(
        BlockPolicy, env, policy_kwargs={"features_extractor_class": NatureCNN, **NETWORK}, **SMALL
    ).policy
    assert policy.learns_features
    assert not RoutedPPO(BlockPolicy, box(), **SMALL).policy.learns_features


NETWORK = {"net_arch": {"pi": [8], "vf": [8]}}


def test_recorded_acting_has_the_gradient_of_evaluation_for_gaussian_actions():
    """Draws of a Gaussian carry a gradient, which must not enter the log-probability of the drawn action."""
    policy = RoutedPPO(BlockPolicy, box(), policy_kwargs=NETWORK, **SMALL).policy
    obs, masks = torch.randn(4, 3), torch.ones(1, 4, 3)
    with policy.recorded(masks) as steps:
        actions, _, _ = policy(obs)
    found = []
    for log_prob in (steps[0].log_prob, policy.evaluate_actions(obs, actions, masks[0]).log_prob):
        policy.zero_grad()
        log_prob.sum().backward()
        found.append(policy.log_std.grad.clone())
    torch.testing.assert_close(*found)
    assert found[0].abs().sum() > 0


def test_episodes_of_a_world_are_evaluated_without_a_monitor():
    model = RoutedPPO(BlockPolicy, world(), **SMALL)
    returns, lengths = evaluate_policy(model, world(), n_eval_episodes=4, return_episode_rewards=True)
    assert len(returns) == len(lengths) >= 4


def test_the_state_of_a_learner_without_snapshot_of_its_environment_is_refused():
    with pytest.raises(SnapshotUnsupported):
        RoutedPPO("MlpPolicy", box(), **SMALL).world_snapshot()
