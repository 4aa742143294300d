"""Environments of third parties train, are evaluated, saved and loaded with any supported observations and actions."""

import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3 import PPO
from stable_baselines3.common.distributions import SquashedDiagGaussianDistribution, StateDependentNoiseDistribution

import agents
from agents import actions
from agents.absorption import absorption
from agents.evaluate import SampledEvaluator
from agents.learners.routed_buffer import RoutedDictRolloutBuffer
from agents.policies.extractors import Encoder, SmallCNN
from agents.policies.policy import BlockPolicy
from tests.agents.foreign_worlds import ACTIONS, LENGTH, world

SMALL = {"n_steps": 8, "batch_size": 16, "n_epochs": 2, "seed": 3, "device": "cpu"}


def build(observed: str, acts: str = "discrete", method: str = "gradient_routing", learner: str = "ppo", **settings):
    env = agents.make_vec_env(world(observed, acts), 4, oversight_prob=0.5)
    return agents.build(env, method, 0, algorithm=learner, n_steps=8, batch_size=16, width=8, **settings)


@pytest.mark.parametrize(
    ("observed", "acts", "extractor"),
    [("vector", "box", None), ("image", "discrete", "shared"), ("dict", "box", "per_block")],
)
def test_untreated_the_learner_is_stable_baselines3s_ppo_bit_for_bit(observed, acts, extractor):
    network = {"policy_kwargs": {"extractor": extractor, "net_arch": [8]}, **SMALL}
    method = {agents.RoutedPPO: {"method": "proxy"}, PPO: {}}
    models = [
        algorithm(BlockPolicy, agents.make_vec_env(world(observed, acts), 4), **network, **extra).learn(64)
        for algorithm, extra in method.items()
    ]
    assert isinstance(models[0].rollout_buffer, RoutedDictRolloutBuffer) == (observed == "dict")
    for x, y in zip(*(model.policy.parameters() for model in models), strict=True):
        assert torch.equal(x, y)


@pytest.mark.parametrize(
    ("observed", "acts", "learner", "extractor"),
    [
        ("vector", "box", "ppo", "shared"),
        ("vector", "multi_discrete", "ppo", "shared"),
        ("image", "multi_binary", "ppo", "shared"),
        ("image", "discrete", "reinforce", "per_block"),
        ("dict", "discrete", "reinforce", "shared"),
        ("dict", "box", "ppo", "per_block"),
    ],
)
def test_an_environment_is_supported_from_training_to_acting(observed, acts, learner, extractor, tmp_path):
    model = build(observed, acts, "gradient_routing(reward=model(steps))", learner, extractor=extractor).learn(96)
    evaluate = SampledEvaluator(world(observed, acts), 0, 16)
    (found,) = evaluate.each(model.policy, [agents.BlockUse()])
    assert np.isfinite([found.true_return, found.true_return_stderr]).all()
    assert found.true_return == evaluate(model.policy).true_return  # every call samples the same episodes
    assert np.isfinite(list(absorption(model, evaluate, 0).values())).all()
    agents.save(tmp_path / "agent.zip", model.policy, world(observed, acts), {}, "gradient_routing")
    agent = agents.load(tmp_path / "agent.zip")
    env = agent.make_world(5)
    obs, _ = env.reset(seed=0)
    for generator in (None, torch.Generator().manual_seed(0)):
        chosen = agent.act(obs, generator)
        assert env.action_space.contains(chosen)
    with torch.no_grad():
        inputs = model.policy.obs_to_tensor(obs)[0]
        assert torch.equal(model.policy.predict_values(inputs), agent.policy.predict_values(inputs))
    started = build(observed, acts, learner=learner, extractor=extractor).policy
    agents.warm_start(started, agent)
    most_likely = [policy.get_distribution(inputs) for policy in (started, agent.policy)]
    assert np.array_equal(*(actions.draw_actions(started, each, None) for each in most_likely))


def test_the_standard_error_is_that_of_the_mean_of_independent_episodes():
    policy = build("vector").policy
    policy.action_net.weight.data.zero_()  # both actions are equally likely
    found = SampledEvaluator(world(), 0, 2000)(policy)
    assert found.true_return == pytest.approx(LENGTH / 2, abs=4 * found.true_return_stderr)
    assert found.true_return_stderr == pytest.approx(np.sqrt(LENGTH / 4 / 2000), rel=0.05)
    assert np.isnan(SampledEvaluator(world(), 0, 1)(policy).true_return_stderr)


def test_draws_have_the_mean_of_their_distribution_and_are_clipped_to_the_box():
    for acts, space in ACTIONS.items():
        policy = build("vector", acts).policy
        row = torch.zeros(1, 3)
        distribution = policy.get_distribution(row.expand(4000, -1))
        drawn = actions.draw_actions(policy, distribution, torch.Generator().manual_seed(0))
        assert all(map(space.contains, drawn[:50]))
        torch.manual_seed(0)
        theirs = policy.get_distribution(row.expand(4000, -1)).sample()
        mean = actions.to_environment(policy, theirs.detach().numpy()).mean(0)
        np.testing.assert_allclose(drawn.mean(0), mean, atol=0.06)
    assert (drawn == actions.draw_actions(policy, distribution, torch.Generator().manual_seed(0))).all()


def test_squashed_and_state_dependent_noise_are_drawn_within_their_bounds():
    squashed = SquashedDiagGaussianDistribution(2).proba_distribution(torch.zeros(500, 2), torch.ones(2))
    noisy = StateDependentNoiseDistribution(2, squash_output=True)
    noisy.proba_distribution_net(3, 0.0, 3)
    noisy.proba_distribution(torch.zeros(500, 2), torch.zeros(3, 2), torch.ones(500, 3))
    for distribution in (squashed, noisy):
        drawn = actions.draw_from(distribution, torch.Generator().manual_seed(0))
        assert drawn.abs().max() <= 1
        assert drawn.std() > 0.3


def gradients(policy: BlockPolicy, masks: torch.Tensor, modules) -> list[torch.Tensor]:
    """The gradient of the actor's loss under masks in each module."""
    obs = torch.randint(0, 256, (6, 3, 6, 5), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    policy.zero_grad()
    policy.evaluate_actions(obs, torch.zeros(6).long(), masks).log_prob.sum().backward()
    found = [[p.grad for p in module.parameters()] for module in modules]
    return [torch.cat([torch.zeros(1) if g is None else g.flatten() for g in part]) for part in found]


@pytest.mark.parametrize("level", ["activation", "parameter"])
def test_masks_do_not_reach_the_gradient_of_a_shared_extractor(level):
    policy = build("image", method=f"gradient_routing(level={level})").policy
    policy.action_net.weight.data.normal_()
    modules = [policy.features_extractor, policy.mlp_extractor.experts["forget"]]
    whole, expert = gradients(policy, torch.ones(6, 3), modules)
    routed, silent = gradients(policy, torch.tensor([[1.0, 0, 0]]).expand(6, -1), modules)
    torch.testing.assert_close(routed, whole)
    assert whole.abs().max() > 0 and expert.abs().max() > 0 and silent.abs().max() == 0  # noqa: PT018


def test_an_extractor_per_block_is_routed_and_ablated_with_its_block():
    policy = build("image", extractor="per_block").policy
    policy.action_net.weight.data.normal_()
    encoders = {name: expert[0] for name, expert in policy.mlp_extractor.experts.items()}
    assert all(isinstance(encoder, Encoder) for encoder in encoders.values())
    assert not policy.learns_features
    masks = torch.ones(6, 3)
    masks[:3, 1] = 0  # these samples do not train the forget block
    retain, forget = gradients(policy, masks, encoders.values())
    assert retain.abs().max() > 0
    masks[3:, 1] = 0
    assert gradients(policy, masks, [encoders["forget"]])[0].abs().max() == 0
    assert forget.abs().max() > 0
    obs = torch.randint(0, 256, (6, 3, 6, 5), dtype=torch.uint8)
    with policy.deployed(without=("forget",)):
        before = policy.get_distribution(obs).distribution.logits
        encoders["forget"].networks[0][1][0].weight.data.zero_()  # its first convolution
        assert torch.equal(policy.get_distribution(obs).distribution.logits, before)


def test_an_image_is_observed_with_its_channels_first_whatever_the_environment_returns():
    env = agents.make_vec_env(world("dict"), 2)
    inner = env.env.unwrapped
    obs, _ = env.env.reset(seed=0)
    assert obs["image"].shape == (2, 3, 6, 5)
    np.testing.assert_array_equal(obs["image"], np.moveaxis(inner._obs["image"], -1, 1))
    for _ in range(LENGTH):
        *_, info = env.env.step(np.zeros(2, int))
    assert env.observation_space.contains(info["final_obs"][1])


def test_small_images_have_a_small_network_and_large_ones_natures():
    small, large = (Encoder(spaces.Box(0, 255, (3, side, side), np.uint8)) for side in (7, 36))
    assert isinstance(small.networks[0][1], SmallCNN)
    assert type(large.networks[0][1]).__name__ == "NatureCNN"
    assert (small.features_dim, large.features_dim) == (128, 512)
    tiny = Encoder(spaces.Box(0, 255, (3, 3, 3), np.uint8))
    assert (tiny.features_dim, list(tiny.parameters())) == (27, [])


def test_what_cannot_be_distilled_or_encoded_per_block_is_refused():
    with pytest.raises(ValueError, match="after=distil does not support actions of a Box"):
        build("vector", "box", "distil_after_ablation")
    with pytest.raises(ValueError, match="after=distil does not support observations of a Dict"):
        build("dict", "discrete", "distil_after_ablation")
    with pytest.raises(ValueError, match=r"adapters share one network.*extractor 'shared'"):
        build("image", method="routed_adapters", extractor="per_block")
