"""Untreated, RoutedPPO's `train` is Stable-Baselines3's; masks weight gradients as documented."""

import copy
import functools

import numpy as np
import pytest
import torch
from stable_baselines3 import PPO

import agents
from agents import BlockPolicy, RoutedPPO, make_vec_env
from routing import BLOCKS, METHODS, episode_labels, untreated

ENV = "envs:keyhole/DiamondGhost-v0"
SETTINGS = {"n_steps": 32, "batch_size": 256, "n_epochs": 3, "seed": 3, "device": "cpu", "gamma": 0.97}


build = functools.partial(agents.build, algorithm="ppo")


def copies(n: int = 32, **kwargs):
    return make_vec_env(ENV, n, **{"size": 3, "oversight_prob": 0.5, **kwargs})


def blocks_of(model) -> dict[str, torch.Tensor]:
    parameters = torch.nn.utils.parameters_to_vector
    return {name: parameters(model.policy.block_parameters(name)).detach().clone() for name in BLOCKS}


@pytest.fixture
def treated():
    """Makes learners whose treatment is a function of the rollout."""

    def make(treat) -> RoutedPPO:
        model = RoutedPPO(BlockPolicy, copies(), method="proxy", max_grad_norm=None, **SETTINGS)
        model.rollout_buffer.treat = treat
        return model

    return make


@pytest.mark.parametrize("batch_size", [256, 96])
def test_unit_weights_and_masks_equal_plain_ppo_bit_for_bit(batch_size):
    settings = SETTINGS | {"batch_size": batch_size, "ent_coef": 0.01}
    # learn before building the other: building seeds the global generator that both draw from
    ours = RoutedPPO(BlockPolicy, copies(24), method="proxy", max_grad_norm=0.5, **settings).learn(7680)
    theirs = PPO(BlockPolicy, copies(24), max_grad_norm=0.5, **settings).learn(7680)
    assert ours.num_timesteps == 7680
    for x, y in zip(ours.policy.parameters(), theirs.policy.parameters(), strict=True):
        assert torch.equal(x, y)
    for x, y in zip(ours.policy.optimizer.state.values(), theirs.policy.optimizer.state.values(), strict=True):
        assert torch.equal(x["exp_avg_sq"], y["exp_avg_sq"])


@pytest.mark.parametrize("block", range(len(BLOCKS)))
def test_block_routed_nowhere_moves_exactly_nothing_though_adam_has_momentum(treated, block):
    silent = []

    def treat(rollout):
        treatment = untreated(rollout)
        treatment.masks[..., block] = not silent
        return treatment

    model = treated(treat)
    model.learn(2048)
    before = blocks_of(model)
    silent.append(True)
    model.learn(4096, reset_num_timesteps=False)
    after = blocks_of(model)
    for i, name in enumerate(BLOCKS):
        assert torch.equal(before[name], after[name]) == (i == block)


def test_forward_is_bit_identical_with_and_without_masks():
    policy = build(copies(), "gradient_routing", 0).policy
    obs = torch.as_tensor(np.random.default_rng(0).integers(0, 2, (64, 5, 3, 3)), dtype=torch.float32)
    actions = torch.zeros(64, dtype=torch.long)
    plain = policy.evaluate_actions(obs, actions)
    routed = policy.evaluate_actions(obs, actions, torch.rand(64, 3))
    for x, y in zip(plain, routed, strict=True):
        assert torch.equal(x, y)


def test_masks_weight_each_samples_gradient_in_each_block_as_a_loop_over_samples_does():
    policy = build(copies(), "gradient_routing", 0).policy.double()
    policy.action_net.weight.data.normal_()  # the initial head is close to 0, and so are gradients through it
    rng = np.random.default_rng(0)
    features = torch.as_tensor(rng.integers(0, 2, (16, 45)), dtype=torch.float64)
    actions, masks = torch.as_tensor(rng.integers(0, 4, 16)), torch.as_tensor(rng.normal(size=(16, 3)))

    def gradients(rows: slice, routed: torch.Tensor | None) -> list[torch.Tensor]:
        policy.zero_grad()
        latent = policy.mlp_extractor.forward_actor(features[rows], routed)
        policy._get_action_dist_from_latent(latent).log_prob(actions[rows]).sum().backward()
        return [torch.cat([p.grad.flatten() for p in policy.block_parameters(name)]) for name in BLOCKS]

    loop = [gradients(slice(i, i + 1), None) for i in range(16)]
    for m, gradient in enumerate(gradients(slice(None), masks)):
        expected = sum(masks[i, m] * loop[i][m] for i in range(16))
        torch.testing.assert_close(gradient, expected, rtol=1e-6, atol=1e-12)
        assert gradient.norm() > 1e-3


def test_filtered_samples_do_not_change_the_update(treated):
    """Half the samples have weight 0; their rewards and masks must not matter."""

    def treat(poison):
        def method(rollout):
            treatment = untreated(rollout)
            treatment.weights[:, ::2] = 0
            treatment.rewards[:, ::2] += poison
            treatment.masks[:, ::2] *= 1 - poison
            return treatment

        return method

    models = [treated(treat(poison)).learn(1024) for poison in (0, 1)]
    for x, y in zip(*(model.policy.parameters() for model in models), strict=True):
        assert torch.equal(x, y)


def test_rollout_with_all_samples_filtered_out_trains_nothing(treated):
    model = treated(lambda rollout: untreated(rollout)._replace(weights=np.zeros_like(rollout.rewards)))
    before = copy.deepcopy(model.policy.state_dict())
    model.learn(2048)
    assert all(torch.equal(x, before[name]) for name, x in model.policy.state_dict().items())


def test_gate_learns_only_from_steps_with_a_target(treated):
    """Every step is routed away from the gate, so only its own loss moves it; without verdicts nothing does."""

    def treat(rollout):
        treatment = untreated(rollout)
        treatment.masks[..., -1] = 0
        return treatment._replace(gate=np.nan_to_num(episode_labels(rollout.feedback)))

    judging, blind = treated(treat), treated(treat)
    blind.rollout_buffer.overseer = lambda view: judging.rollout_buffer.overseer(view)._replace(
        score=np.full(view.dones.shape, np.nan)
    )
    before = blocks_of(judging)["gate"]
    judging.learn(1024)
    blind.learn(1024)
    assert not torch.equal(blocks_of(judging)["gate"], before)
    assert torch.equal(blocks_of(blind)["gate"], before)


def test_gate_learns_to_distinguish_good_verdicts_from_bad():
    model = build(copies(oversight_prob=1.0), "gradient_routing", 0, n_steps=32, batch_size=256)
    model.learn(12_000)
    assert model.logger.name_to_value["train/gate_loss"] < 0.4  # log 2 = 0.69 without learning


def test_routed_samples_use_the_plain_return_and_others_the_critic():
    model = build(copies(), "gradient_routing_weighted", 0, n_steps=32, batch_size=256)
    model.learn(1024)
    buffer = model.rollout_buffer
    shape = (buffer.n_envs, buffer.buffer_size)
    judged = (buffer.gate != 0).reshape(shape).T
    assert 0 < judged.mean() < 1
    steps_left = np.full(buffer.n_envs, -1)
    for t in reversed(range(buffer.buffer_size)):
        steps_left = np.where(buffer.dones[t], 0, steps_left + 1)
        returns = buffer.advantages.reshape(shape).T[t]
        np.testing.assert_allclose(returns[judged[t]], 0.97 ** steps_left[judged[t]], rtol=1e-5)
    np.testing.assert_array_equal(buffer.baselined.reshape(shape).T, ~judged)


def test_without_a_baseline_a_return_that_the_rollout_cuts_goes_on_with_the_value_of_what_follows():
    model = build(copies(), "naive(baseline=none)", 0, n_steps=8, batch_size=256, gae_lambda=1.0)
    model.learn(8 * 32)
    buffer = model.rollout_buffer
    shape = (buffer.n_envs, buffer.buffer_size)
    advantages, values = (array.reshape(shape).T for array in (buffer.advantages, buffer.values))
    assert (~buffer.dones[-1]).any()
    np.testing.assert_allclose(advantages, buffer.returns.reshape(shape).T, atol=1e-5)  # at lambda 1 the same sums
    assert np.abs(advantages - values).max() > 1e-3


def test_samples_that_do_not_train_the_critic_leave_it_as_it_is(treated):
    """Adam moves on a gradient of zeros, so a critic without samples must have no gradient."""
    silent = []

    def treat(rollout):
        return untreated(rollout)._replace(critic=np.full(rollout.rewards.shape, float(not silent)))

    model = treated(treat).learn(2048)
    critic = [parameter.clone() for parameter in model.policy.critic_parameters()]
    actor = model.policy.action_net.weight.clone()
    silent.append(True)
    model.learn(2048, reset_num_timesteps=False)
    assert all(torch.equal(x, y) for x, y in zip(critic, model.policy.critic_parameters(), strict=True))
    assert not torch.equal(actor, model.policy.action_net.weight)


def test_returns_of_samples_that_do_not_train_the_critic_do_not_change_it(treated):
    def treat(poison):
        def method(rollout):
            treatment = untreated(rollout)
            critic = treatment.critic.copy()
            critic[:, ::2] = 0
            treatment.rewards[:, ::2] += poison
            return treatment._replace(critic=critic, weights=np.where(critic > 0, 1.0, 1e-20))

        return method

    models = [treated(treat(poison)).learn(1024) for poison in (0.0, 5.0)]
    for x, y in zip(*(model.policy.critic_parameters() for model in models), strict=True):
        torch.testing.assert_close(x, y)


def test_the_scale_of_a_treatment_multiplies_the_loss(treated):
    def gradients(scale):
        model = treated(lambda rollout: untreated(rollout)._replace(scale=scale))
        model.lr_schedule = lambda _: 0.0
        model.learn(1024)
        return [parameter.grad for parameter in model.policy.parameters() if parameter.grad is not None]

    for whole, half in zip(gradients(1.0), gradients(0.5), strict=True):
        torch.testing.assert_close(half, whole / 2)


def test_a_method_that_replaces_rewards_leaves_the_bootstrap_at_time_outs(treated):
    """The bootstrap is the critic's estimate, which a method must not overwrite."""
    untouched = treated(untreated).learn(1024).rollout_buffer
    replaced = treated(lambda r: untreated(r)._replace(rewards=r.rewards + 1.0)).learn(1024).rollout_buffer
    timed_out = untouched.dones & (untouched.overseer_obs == 0)
    assert timed_out.any()
    assert (untouched.rewards[timed_out] != 0).all()
    np.testing.assert_allclose(replaced.rewards, untouched.rewards + 1, rtol=1e-6)


def test_same_seed_gives_the_same_weights_and_another_seed_others():
    def weights(seed):
        model = build(copies(), "reward_model", seed, n_steps=32, batch_size=256)
        return torch.nn.utils.parameters_to_vector(model.learn(4096).policy.parameters())

    assert torch.equal(weights(0), weights(0))
    assert not torch.equal(weights(0), weights(1))


@pytest.mark.parametrize("method", [name for name in METHODS if name != "reward_model_pu"])  # needs one-sided verdicts
def test_save_load_and_continue(method, tmp_path):
    model = build(copies(), method, 0, n_steps=32, batch_size=256).learn(1024)
    model.save(tmp_path / "agent.zip")
    acting = RoutedPPO.load(tmp_path / "agent.zip")
    obs = copies().reset()
    np.testing.assert_array_equal(model.predict(obs, deterministic=True)[0], acting.predict(obs, deterministic=True)[0])
    continued = RoutedPPO.load(tmp_path / "agent.zip", env=copies())
    before = continued.policy.action_net.weight.clone()
    continued.learn(1024, reset_num_timesteps=False)
    assert continued.num_timesteps == 2048
    assert continued.method == method
    assert not torch.equal(continued.policy.action_net.weight, before)


@pytest.mark.slow
def test_oracle_reaches_nine_tenths_of_the_optimum_of_a_small_grid():
    model = build(copies(), "oracle", 0, n_steps=32, batch_size=256, learning_rate=2e-3, ent_coef=0.01)
    evaluate, _ = agents.make_evaluator(ENV, 0, size=3, oversight_prob=0.5)
    model.learn(40_000)
    assert evaluate(model.policy).true_return > 0.85
