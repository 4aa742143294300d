"""Without an overseer, RoutedPPO and OnePassPPO are Stable-Baselines3's PPO, bit for bit, whatever it is given."""

import itertools

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3 import PPO
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.envs import (
    IdentityEnv,
    IdentityEnvBox,
    IdentityEnvMultiBinary,
    IdentityEnvMultiDiscrete,
    SimpleMultiObsEnv,
)
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, VecFrameStack, VecMonitor, VecNormalize

from agents import BlockPolicy, RoutedPPO
from agents.learners.one_pass_ppo import OnePassPPO

SMALL = {"n_steps": 16, "batch_size": 8, "n_epochs": 2, "seed": 3, "device": "cpu"}
NETWORK = {"net_arch": {"pi": [8], "vf": [8]}}
TIMES = ("time/fps", "time/time_elapsed")
OURS = [RoutedPPO, OnePassPPO]


class Observed(gymnasium.Env):
    """Random observations of any space. The reward depends on the action; episodes end by time limit or chance."""

    def __init__(self, observation_space, action_space=None):
        self.observation_space = observation_space
        self.action_space = action_space or spaces.Discrete(3)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        if seed is not None:
            self.observation_space.seed(seed)
        self.steps = 0
        return self.observation_space.sample(), {}

    def step(self, action):
        self.steps += 1
        reward = float(np.sum(action)) + self.np_random.normal()
        ended = bool(self.np_random.random() < 0.1)
        return self.observation_space.sample(), reward, ended, self.steps >= 7 and not ended, {}


def vec_env(make, n: int = 2) -> DummyVecEnv:
    env = DummyVecEnv([lambda: Monitor(make())] * n)
    env.seed(0)
    return env


def observed(space, action_space=None, n: int = 2) -> DummyVecEnv:
    return vec_env(lambda: Observed(space, action_space), n)


def box(n: int = 2) -> DummyVecEnv:
    return observed(spaces.Box(-1, 1, (3,)), spaces.Box(-1, 1, (2,)), n)


def trained(algorithm, policy, env, steps: int = 64, **settings):
    """A trained model and everything it logged."""
    model = algorithm(policy, env, **SMALL | settings)
    model.learn(steps)
    logged = {name: value for name, value in model.logger.name_to_value.items() if name not in TIMES}
    return model, logged


def assert_identical(ours, theirs) -> None:
    (model, logged), (reference, expected) = ours, theirs
    for (name, x), y in zip(model.policy.state_dict().items(), reference.policy.state_dict().values(), strict=True):
        assert torch.equal(x, y), name
    for x, y in zip(model.policy.optimizer.state.values(), reference.policy.optimizer.state.values(), strict=True):
        assert torch.equal(x["exp_avg_sq"], y["exp_avg_sq"])
    assert {name: repr(value) for name, value in logged.items()} == {
        name: repr(value) for name, value in expected.items()
    }
    assert "train/loss" in logged


ACTIONS = {
    "Discrete": spaces.Discrete(3),
    "MultiDiscrete": spaces.MultiDiscrete([2, 3]),
    "MultiBinary": spaces.MultiBinary(3),
    "Box": spaces.Box(-1, 1, (2,)),
}
OBSERVATIONS = {
    "Box": spaces.Box(-1, 1, (3,)),
    "Box of two dimensions": spaces.Box(-1, 1, (2, 3)),
    "Discrete": spaces.Discrete(4),
    "MultiDiscrete": spaces.MultiDiscrete([2, 3, 2]),
    "MultiBinary": spaces.MultiBinary(4),
    "MultiBinary of two dimensions": spaces.MultiBinary((2, 2)),
}


@pytest.mark.parametrize("policy", ["MlpPolicy", BlockPolicy], ids=["MlpPolicy", "BlockPolicy"])
@pytest.mark.parametrize("algorithm", OURS)
@pytest.mark.parametrize("space", ACTIONS)
def test_untreated_equals_ppo_for_every_action_space(algorithm, policy, space):
    def run(kind):
        env = observed(spaces.Box(-1, 1, (3,)), ACTIONS[space])
        return trained(kind, policy, env, policy_kwargs=NETWORK, ent_coef=0.01)

    assert_identical(run(algorithm), run(PPO))


@pytest.mark.parametrize("policy", ["MlpPolicy", BlockPolicy], ids=["MlpPolicy", "BlockPolicy"])
@pytest.mark.parametrize("space", OBSERVATIONS)
def test_untreated_equals_ppo_for_every_observation_space(policy, space):
    def run(kind):
        return trained(kind, policy, observed(OBSERVATIONS[space]), policy_kwargs=NETWORK)

    assert_identical(run(RoutedPPO), run(PPO))


def half(remaining: float) -> float:
    return 0.1 + 0.1 * remaining


class Counting(RolloutBuffer):
    """A user's buffer."""

    def __init__(self, *args, start: int = 0, **kwargs):
        self.started = start
        super().__init__(*args, **kwargs)


ARGUMENTS = {
    "target_kl": {"target_kl": 1e-3, "n_epochs": 9, "learning_rate": 0.01},
    "clip_range_vf": {"clip_range_vf": 0.05},
    "clip_range_vf schedule": {"clip_range_vf": half},
    "clip_range schedule": {"clip_range": half},
    "learning_rate schedule": {"learning_rate": lambda remaining: 0.01 * remaining},
    "normalize_advantage": {"normalize_advantage": False},
    "batch of one": {"normalize_advantage": False, "batch_size": 1},
    "n_epochs": {"n_epochs": 1, "batch_size": 32},
    "vf_coef": {"vf_coef": 0.7, "ent_coef": 0.013},
    "gamma and lambda": {"gamma": 0.9, "gae_lambda": 0.8},
    "max_grad_norm": {"max_grad_norm": 0.01},
    "stats_window_size": {"stats_window_size": 3},
    "rollout_buffer_class": {"rollout_buffer_class": Counting, "rollout_buffer_kwargs": {"start": 7}},
    "policy_kwargs": {"policy_kwargs": {"net_arch": [8, 8], "activation_fn": torch.nn.ReLU, "ortho_init": False}},
    "extractors that are not shared": {"policy_kwargs": {"share_features_extractor": False}},
    "optimizer": {"policy_kwargs": {"optimizer_class": torch.optim.RMSprop}},
    "verbose": {"verbose": 0},
}


@pytest.mark.parametrize("algorithm", OURS)
@pytest.mark.parametrize("argument", ARGUMENTS)
def test_untreated_equals_ppo_for_every_argument(algorithm, argument):
    def run(kind):
        return trained(kind, "MlpPolicy", observed(spaces.Box(-1, 1, (3,))), **ARGUMENTS[argument])

    ours, theirs = run(algorithm), run(PPO)
    if argument == "optimizer":
        assert torch.equal(*(torch.nn.utils.parameters_to_vector(m.policy.parameters()) for m, _ in (ours, theirs)))
        return
    assert_identical(ours, theirs)


@pytest.mark.parametrize("batch_size", [8, 12])
@pytest.mark.filterwarnings("ignore:You have specified a mini-batch size")
def test_untreated_equals_ppo_with_truncated_minibatches(batch_size):
    def run(kind):
        return trained(kind, BlockPolicy, box(), batch_size=batch_size, policy_kwargs=NETWORK)

    assert_identical(run(RoutedPPO), run(PPO))


SDE = [
    {"use_sde": True},
    {"use_sde": True, "sde_sample_freq": 4},
    {"use_sde": True, "policy_kwargs": {"squash_output": True, "log_std_init": -1.0}},
]


@pytest.mark.parametrize("policy", ["MlpPolicy", BlockPolicy], ids=["MlpPolicy", "BlockPolicy"])
@pytest.mark.parametrize("settings", SDE, ids=["gSDE", "gSDE sampled often", "gSDE squashed"])
def test_untreated_equals_ppo_with_state_dependent_exploration(policy, settings):
    def run(kind):
        return trained(kind, policy, box(), **settings)

    ours = run(RoutedPPO)
    assert_identical(ours, run(PPO))
    assert "train/std" in ours[1]


@pytest.mark.parametrize("algorithm", OURS)
def test_target_kl_stops_an_update_early(algorithm):
    settings = {"target_kl": 1e-9, "n_epochs": 9, "learning_rate": 0.01}
    model, _ = trained(algorithm, "MlpPolicy", box(), steps=64, **settings)
    assert model._n_updates == 2  # one epoch of each of two rollouts


@pytest.mark.parametrize("algorithm", OURS)
def test_dict_observations_train_by_the_multi_input_policy(algorithm):
    def run(kind):
        env = vec_env(lambda: SimpleMultiObsEnv(random_start=False))
        return trained(kind, "MultiInputPolicy", env, steps=32)

    assert_identical(run(algorithm), run(PPO))


def test_images_train_by_the_cnn_policy():
    def run(kind):
        env = observed(spaces.Box(0, 255, (36, 36, 1), np.uint8), n=1)
        return trained(
            kind, "CnnPolicy", env, steps=16, policy_kwargs={"features_extractor_kwargs": {"features_dim": 8}}
        )

    assert_identical(run(RoutedPPO), run(PPO))


def test_blocks_without_a_layer_are_refused():
    with pytest.raises(ValueError, match="blocks need one at least"):
        RoutedPPO(BlockPolicy, box(), policy_kwargs={"net_arch": []})


WRAPPERS = {
    "VecNormalize": lambda env: VecNormalize(env),
    "VecFrameStack": lambda env: VecFrameStack(env, 2),
    "VecMonitor": lambda env: VecMonitor(env),
}


@pytest.mark.parametrize("wrapper", WRAPPERS)
@pytest.mark.filterwarnings("ignore:The environment is already wrapped with a `Monitor` wrapper")
def test_untreated_equals_ppo_under_wrappers(wrapper):
    def run(kind):
        return trained(kind, "MlpPolicy", WRAPPERS[wrapper](observed(spaces.Box(-1, 1, (3,)))))

    assert_identical(run(OnePassPPO), run(PPO))


def test_arguments_may_be_positional():
    def run(kind):
        model = kind("MlpPolicy", box(), 1e-3, 16, 8, 2, seed=3, device="cpu")
        model.learn(64)
        return torch.nn.utils.parameters_to_vector(model.policy.parameters())

    assert torch.equal(run(RoutedPPO), run(PPO))


def test_an_unknown_argument_is_refused_as_ppo_refuses_it():
    with pytest.raises(TypeError, match="unexpected keyword argument 'n_step'"):
        RoutedPPO("MlpPolicy", box(), n_step=3)


@pytest.mark.parametrize("algorithm", OURS)
def test_learning_in_two_calls_equals_ppo(algorithm):
    def run(kind):
        model, _ = trained(kind, "MlpPolicy", box(), steps=32)
        model.learn(32, reset_num_timesteps=False)
        assert model.num_timesteps == 64
        return model, {**model.logger.name_to_value, **dict.fromkeys(TIMES, 0)}

    assert_identical(run(algorithm), run(PPO))


IDENTITIES = {
    "Discrete": lambda: IdentityEnv(2, ep_length=20),
    "Box": lambda: IdentityEnvBox(eps=0.5, ep_length=20),
    "MultiDiscrete": lambda: IdentityEnvMultiDiscrete(2, ep_length=20),
    "MultiBinary": lambda: IdentityEnvMultiBinary(2, ep_length=20),
}
GOOD = {"Discrete": 0.9, "Box": 0.5, "MultiDiscrete": 0.8, "MultiBinary": 0.8}  # share of the best return


@pytest.mark.slow
@pytest.mark.parametrize(("algorithm", "space"), list(itertools.product(OURS, IDENTITIES)))
def test_identity_environments_are_learned(algorithm, space):
    env = vec_env(IDENTITIES[space], 4)
    for seed, copy in enumerate(env.envs):  # these environments draw from their spaces, which reset() does not seed
        copy.unwrapped.observation_space.seed(seed)
        copy.unwrapped.action_space.seed(seed)
    settings = {"n_steps": 64, "batch_size": 64, "n_epochs": 8, "learning_rate": 1e-3, "gamma": 0.5}
    model, _ = trained(algorithm, "MlpPolicy", env, steps=8_192, **settings)
    returns = [info["r"] for info in model.ep_info_buffer][-20:]
    assert np.mean(returns) > GOOD[space] * 20
