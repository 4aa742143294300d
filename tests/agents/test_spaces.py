"""Each supported observation space goes through training, evaluation, saving, loading and acting; others raise."""

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, SyncVectorEnv

import agents
from agents.evaluate import ExactEvaluator, SampledEvaluator
from agents.learners.reinforce import RoutedReinforce
from routing import METHODS
from tests.agents.space_worlds import SPACES, WORLD


def trained(kind: str, learner: str, method: str = "gradient_routing", steps: int = 2048, **settings):
    env = agents.make_vec_env(WORLD, 32, kind=kind)
    model = agents.build(env, method, 0, algorithm=learner, n_steps=16, width=8, learning_rate=0.02, **settings)
    file = agents.Checkpoints(steps, 1, lambda step, metrics: None)
    return model.learn(steps, callback=file)


@pytest.mark.parametrize("learner", ["reinforce", "ppo"])
@pytest.mark.parametrize("kind", SPACES)
def test_an_observation_space_is_supported_from_training_to_acting(kind, learner, tmp_path):
    settings = {"batch_size": 128, "n_epochs": 2} if learner == "ppo" else {"n_epochs": 4}
    policy = trained(kind, learner, **settings).policy
    exact, sampled = ExactEvaluator(WORLD, kind=kind), SampledEvaluator(WORLD, 0, 512, kind=kind)
    (found,) = exact.each(policy, [agents.BlockUse()])
    assert found.true_return > (0.6 if learner == "reinforce" else 0.3)  # at random 0.41
    assert exact(policy).true_return == pytest.approx(found.true_return, rel=1e-5)
    assert sampled.each(policy, [agents.BlockUse()])[0].true_return == pytest.approx(found.true_return, abs=0.06)
    agents.save(tmp_path / "agent.zip", policy, WORLD, {"kind": kind}, "gradient_routing")
    agent = agents.load(tmp_path / "agent.zip")
    obs, _ = agent.make_world(16).reset(seed=0)
    with policy.deployed(*agent.deployments["retain"]), agent.deployed("retain"):
        expected = agents.action_probabilities(policy, torch.as_tensor(obs)).argmax(1)
        assert agent.act(obs).tolist() == expected.tolist()
        assert agent.act(obs, torch.Generator().manual_seed(0)).shape == (16,)


@pytest.mark.parametrize("method", ["reward_model", "gradient_routing_adapter", "gradient_routing_ablated"])
def test_methods_train_on_discrete_observations(method):
    for learner in ("reinforce", "ppo"):
        model = trained("discrete", learner, method, steps=512)
        assert all(torch.isfinite(p).all() for p in model.policy.parameters())


@pytest.mark.parametrize("kind", ["discrete", "multi_discrete", "image"])
def test_tables_and_samples_compute_the_same_probabilities(kind):
    model = trained(kind, "reinforce", steps=512)
    assert model.tabular
    rows = torch.as_tensor(model.tables.observations)
    (log_probability,) = model.policy.log_probabilities(model.policy.encode(rows))
    torch.testing.assert_close(log_probability.exp(), agents.action_probabilities(model.policy, rows))


@pytest.mark.parametrize("kind", ["discrete", "multi_discrete"])
def test_a_world_without_tables_trains_on_discrete_observations(kind):
    model = trained(kind, "reinforce", by_tables=False, n_epochs=1, steps=512)
    assert not model.tabular
    assert isinstance(model, RoutedReinforce)


REFUSED = {
    "Dict": (spaces.Dict({}), spaces.Discrete(2), "it has no entries"),
    "nested Dict": (spaces.Dict(a=spaces.Dict(b=spaces.Discrete(2))), spaces.Discrete(2), "entry 'a' is Dict.*use Box"),
    "Tuple": (spaces.Tuple([spaces.Discrete(2)]), spaces.Discrete(2), "Tuple.*use Box, Discrete"),
    "Text": (spaces.Dict(mission=spaces.Text(3)), spaces.Discrete(2), "entry 'mission' is Text.*agent_view"),
    "start": (spaces.Discrete(3, start=1), spaces.Discrete(2), "Discrete.3, start=1.*subtract the start"),
    "starts": (spaces.MultiDiscrete([3, 2], start=[0, 1]), spaces.Discrete(2), "MultiDiscrete.*subtract the start"),
    "rows": (spaces.MultiDiscrete([[3, 2], [2, 2]]), spaces.Discrete(2), "more than one dimension"),
    "scalar": (spaces.Box(0, 1, ()), spaces.Discrete(2), "no dimension"),
    "empty": (spaces.Box(0, 1, (0,)), spaces.Discrete(2), "0 entries"),
    "huge": (spaces.Discrete(2**40), spaces.Discrete(2), "entries when flattened"),
    "image": (spaces.Box(0, 255, (40, 3, 40), np.uint8), spaces.Discrete(2), "channels first or last"),
    "integer actions": (spaces.Discrete(3), spaces.Box(0, 9, (2,), np.int64), "actions are int64; use a Box of floats"),
    "unbounded actions": (spaces.Discrete(3), spaces.Box(-1, np.inf, (2,)), "bounds are not finite"),
    "scalar action": (spaces.Discrete(3), spaces.Box(-1, 1, ()), "give it shape"),
    "Dict action": (spaces.Discrete(3), spaces.Dict(a=spaces.Discrete(2)), "use Discrete actions"),
    "action rows": (spaces.Discrete(3), spaces.MultiDiscrete([[2, 2]]), "flatten it"),
    "action start": (spaces.Discrete(3), spaces.Discrete(2, start=5), "action space.*subtract the start"),
}


@pytest.mark.parametrize("learner", ["reinforce", "ppo"])
@pytest.mark.parametrize("case", REFUSED)
def test_other_spaces_are_refused_in_one_line_that_names_space_and_learner(case, learner):
    observation, action, message = REFUSED[case]
    with pytest.raises(ValueError, match=message) as refusal:
        agents.check_spaces(observation, action, learner)
    assert "\n" not in str(refusal.value)
    assert f"learner '{learner}'" in str(refusal.value)


SEVERAL_ACTIONS = (spaces.Box(-1, 1, (2,)), spaces.MultiDiscrete([2, 3]), spaces.MultiBinary(2))


def test_every_space_of_this_file_is_accepted_and_several_actions_by_ppo_alone():
    image = spaces.Box(0, 255, (40, 40, 3), np.uint8)
    for space in (*SPACES.values(), image, spaces.Dict(image=image, speed=spaces.Discrete(3))):
        agents.check_spaces(space, spaces.Discrete(2), "reinforce")
    for space in SEVERAL_ACTIONS:
        agents.check_spaces(spaces.Discrete(2), space, "ppo")
        with pytest.raises(ValueError, match="use learner ppo"):
            agents.check_spaces(spaces.Discrete(2), space, "reinforce")


def test_an_unknown_learner_names_the_nearest():
    with pytest.raises(ValueError, match="unknown learner 'pp'; did you mean 'ppo'"):
        agents.check_spaces(spaces.Discrete(2), spaces.Discrete(2), "pp")


def test_build_refuses_an_environment_without_overseer_and_one_whose_spaces_are_not_supported():
    make = {"CartPole-v1": "has no overseer", "Pendulum-v1": "use learner ppo"}
    for name, message in make.items():
        env = SyncVectorEnv([lambda name=name: gymnasium.make(name)], autoreset_mode=AutoresetMode.SAME_STEP)
        with pytest.raises(ValueError, match=message):
            agents.build(agents.GymnasiumVecEnv(env), "naive", 0)


def test_every_method_is_accepted_by_both_learners_on_discrete_observations():
    env = agents.make_vec_env(WORLD, 4, kind="discrete")
    for method in METHODS:
        for learner in ("reinforce", "ppo"):
            agents.build(env, method, 0, algorithm=learner, n_steps=4, width=4)
