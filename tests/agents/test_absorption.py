"""Read-outs of absorption: what they count, and that nothing changes by them."""

import numpy as np
import pytest
import torch

import agents
from agents.absorption import absorption, gradient_share
from agents.saving.run_state import snapshot_learner

WORLD = "envs:keyhole/DiamondGhost-v0"
METRICS = {"unlabelled_bad_share", "gradient_share", "ablation_effect", "random_ablation_effect"}


def trained(method: str, algorithm: str = "reinforce", oversight: float = 0.3, **settings) -> agents.RoutedPPO:
    env = agents.make_vec_env(WORLD, 64, oversight_prob=oversight)
    model = agents.build(env, method, 0, algorithm=algorithm, n_steps=32, width=8, **settings)
    return model.learn(64 * 32 * 2)


def read_outs(model: agents.RoutedPPO, oversight: float = 0.3) -> dict[str, float]:
    evaluate, _ = agents.make_evaluator(WORLD, 0, oversight_prob=oversight)
    return {name.removeprefix("absorption/"): value for name, value in absorption(model, evaluate, 0).items()}


@pytest.mark.parametrize(
    ("algorithm", "settings"),
    [("reinforce", {}), ("reinforce", {"whole_episodes": True}), ("ppo", {}), ("reinforce", {"by_tables": False})],
)
def test_every_learner_has_all_read_outs(algorithm, settings):
    values = read_outs(trained("gradient_routing", algorithm, **settings))
    assert set(values) == METRICS
    assert 0 < values["unlabelled_bad_share"] < 1
    assert 0 < values["gradient_share"] < 1


@pytest.mark.parametrize("method", ["naive(network=single)", "proxy(network=single(expert))"])
def test_a_policy_without_forget_expert_has_none(method):
    assert read_outs(trained(method)) == {}


def test_where_every_episode_is_labelled_the_last_rollout_says_nothing():
    assert set(read_outs(trained("gradient_routing(label=return(-0.5))", oversight=1.0), 1.0)) == {
        "ablation_effect",
        "random_ablation_effect",
    }


@pytest.mark.parametrize(
    ("masks", "share"), [("absorb_all", 1.0), ("swapped", None), ("none", None)], ids=["forget", "swapped", "none"]
)
def test_the_gradient_share_is_that_of_the_masks(masks, share):
    found = read_outs(trained(f"gradient_routing(masks={masks})"))["gradient_share"]
    assert found == 1.0 if share else 0 < found < 1


def test_the_tables_and_the_steps_of_a_world_agree_on_bad_acts():
    shares = [
        read_outs(trained("gradient_routing", "reinforce", by_tables=by_tables))["unlabelled_bad_share"]
        for by_tables in (True, False)
    ]
    assert shares[0] == pytest.approx(shares[1], abs=0.15)  # two samples of some hundred episodes


@pytest.mark.parametrize("algorithm", ["reinforce", "ppo"])
def test_nothing_changes_by_them(algorithm):
    model = trained("gradient_routing", algorithm)
    before, chance = snapshot_learner(model), torch.get_rng_state()
    numbers = np.random.get_state()[1].copy()  # noqa: NPY002
    read_outs(model)
    after = snapshot_learner(model)
    assert all(torch.equal(value, after["policy"][name]) for name, value in before["policy"].items())
    assert torch.equal(chance, torch.get_rng_state())
    assert np.array_equal(numbers, np.random.get_state()[1])  # noqa: NPY002
    states = before["optimizer"]["state"], after["optimizer"]["state"]
    assert all(torch.equal(states[0][i]["exp_avg"], states[1][i]["exp_avg"]) for i in states[0])


def test_the_gradient_share_equals_a_backward_pass_on_the_same_steps():
    model = trained("gradient_routing(advantage=none,baseline=none)", "ppo")
    buffer = model.rollout_buffer
    steps = np.ones(buffer.dones.shape, bool)
    flat = torch.as_tensor(buffer.observations)
    policy = model.policy
    policy.zero_grad()
    found = policy.evaluate_actions(flat, torch.as_tensor(buffer.actions).flatten(), torch.as_tensor(buffer.masks))
    (found.log_prob * torch.as_tensor(buffer.advantages).flatten()).sum().backward()
    norms = {
        name: sum(float(p.grad.square().sum()) for p in policy.block_parameters(name)) for name in ("retain", "forget")
    }
    assert gradient_share(model, steps) == pytest.approx(norms["forget"] / sum(norms.values()), rel=1e-4)
