"""Adam whose second moment is of unrouted gradients, alone and in both learners."""

import copy

import pytest
import torch

import agents
from agents import build, make_vec_env
from agents.learners.ppo import RoutedPPO
from routing import SplitAdam, untreated

ENV = "envs:keyhole/DiamondGhost-v0"
SETTINGS = {"n_steps": 16, "batch_size": 256, "n_epochs": 2, "width": 8, "learning_rate": 0.01}
LEARNERS = ["reinforce", "ppo"]


def learner(method: str, algorithm: str, oversight: float = 0.4, **changes):
    env = make_vec_env(ENV, 32, size=3, oversight_prob=oversight)
    return build(env, method, 1, algorithm=algorithm, **SETTINGS | changes)


def block(model, name: str) -> torch.Tensor:
    return torch.nn.utils.parameters_to_vector(model.policy.block_parameters(name)).detach().clone()


def vector(model) -> torch.Tensor:
    return torch.nn.utils.parameters_to_vector(model.policy.parameters()).detach().clone()


@pytest.mark.parametrize("eps", [1e-8, 1e-5])
def test_with_equal_gradients_a_split_step_is_adams_bit_for_bit(eps):
    torch.manual_seed(0)
    ours = [torch.nn.Parameter(torch.randn(shape)) for shape in ((5, 3), (7,), (2,))]
    theirs = [torch.nn.Parameter(p.detach().clone()) for p in ours]
    split, adam = SplitAdam(ours, lr=0.01, eps=eps), torch.optim.Adam(theirs, lr=0.01, eps=eps)
    for step in range(20):
        for x, y in zip(ours[: 2 if step == 3 else 3], theirs, strict=False):
            x.grad = torch.randn_like(x)
            y.grad = x.grad.clone()
        split.split_step([p.grad for p in ours]) if step % 5 else split.step()
        adam.step()
        for optimizer in (split, adam):
            optimizer.zero_grad()
    assert all(torch.equal(x, y) for x, y in zip(ours, theirs, strict=True))
    for x, y in zip(split.state.values(), adam.state.values(), strict=True):
        assert all(torch.equal(x[name], y[name]) for name in ("step", "exp_avg", "exp_avg_sq"))


def test_a_mask_shortens_the_step_which_adam_would_restore():
    def moved(optimizer, step):
        parameter = torch.nn.Parameter(torch.ones(1))
        made = optimizer([parameter], lr=0.01, eps=0.0)
        parameter.grad = torch.tensor([0.25])
        step(made)
        return 1 - parameter.item()

    assert moved(torch.optim.Adam, lambda made: made.step()) == pytest.approx(0.01, rel=1e-5)
    assert moved(SplitAdam, lambda made: made.split_step([torch.ones(1)])) == pytest.approx(0.0025, rel=1e-5)


def test_a_parameter_without_gradient_keeps_its_value_and_its_moments():
    parameter = torch.nn.Parameter(torch.ones(1))
    split = SplitAdam([parameter], lr=0.01)
    parameter.grad = torch.ones(1)
    split.split_step([torch.ones(1)])
    before = parameter.item(), copy.deepcopy(split.state_dict())
    parameter.grad = None
    split.split_step([torch.ones(1)])
    assert (parameter.item(), split.state_dict()) == before


@pytest.mark.parametrize("algorithm", LEARNERS)
@pytest.mark.parametrize("max_grad_norm", [None, 0.01])
def test_without_masks_split_adam_is_adam_bit_for_bit(algorithm, max_grad_norm):
    changes = {"max_grad_norm": max_grad_norm}
    runs = [
        learner(f"no_routing(optimizer={optimizer})", algorithm, **changes).learn(2048)
        for optimizer in ("adam", "split_adam")
    ]
    assert torch.equal(*map(vector, runs))


@pytest.mark.parametrize("algorithm", LEARNERS)
def test_the_second_moment_is_of_the_gradient_without_masks(algorithm):
    """After one step from zero, moments are shares of the gradients."""
    found = {}
    for method in ("routing_split_adam", "gradient_routing", "no_routing"):
        model = learner(method, algorithm, n_epochs=1, batch_size=512, max_grad_norm=None)
        model.learn(512)
        names = [name for name, _ in model.policy.named_parameters()]
        found[method] = dict(zip(names, model.policy.optimizer.state.values(), strict=True))
    for name, state in found["routing_split_adam"].items():
        assert torch.equal(state["exp_avg"], found["gradient_routing"][name]["exp_avg"])
        plain = found["no_routing"][name]["exp_avg_sq"]
        torch.testing.assert_close(state["exp_avg_sq"], plain, rtol=1e-3, atol=1e-30)
    expert = "mlp_extractor.experts.retain.0.weight"
    routed, plain = (found[method][expert]["exp_avg_sq"] for method in ("gradient_routing", "no_routing"))
    assert not torch.allclose(routed, plain, rtol=0.1, atol=1e-30)


@pytest.mark.parametrize("algorithm", LEARNERS)
def test_a_block_that_no_sample_trains_stays_unchanged(algorithm):
    model = learner("routing_split_adam", algorithm).learn(1024)

    def treat(rollout):
        treatment = untreated(rollout)
        treatment.masks[..., 1] = 0
        return treatment

    model.rollout_buffer.treat = treat
    before = {name: block(model, name) for name in ("retain", "forget")}
    model.learn(1024, reset_num_timesteps=False)
    assert torch.equal(before["forget"], block(model, "forget"))
    assert not torch.equal(before["retain"], block(model, "retain"))


@pytest.mark.parametrize("method", ["label_conditioned", "hard_experts"])
@pytest.mark.parametrize("algorithm", LEARNERS)
def test_the_ratio_of_a_sample_starts_at_1_under_the_policy_that_its_masks_choose(method, algorithm):
    model = learner(method, algorithm, learning_rate=0.0, batch_size=512, n_epochs=1)
    model.policy.action_net.weight.data.normal_()
    model.learn(512)
    assert model.logger.name_to_value.get("train/approx_kl", 0.0) < 1e-9
    buffer = model.rollout_buffer
    assert 0 < (buffer.masks.reshape(512, -1) != buffer.masks.reshape(512, -1)[0]).mean() < 1
    if algorithm == "ppo":
        assert isinstance(model, RoutedPPO)
        batch = next(buffer.get(512))
        with torch.no_grad():
            chosen = model.policy.evaluate_actions(batch.observations, batch.actions.long().flatten(), batch.masks)
            acted = model.policy.evaluate_actions(batch.observations, batch.actions.long().flatten())
        torch.testing.assert_close(chosen.log_prob, batch.old_log_prob)
        assert not torch.allclose(acted.log_prob, batch.old_log_prob)


@pytest.mark.parametrize("algorithm", LEARNERS)
def test_a_conditioned_agent_learns_what_each_verdict_is_for(algorithm):
    model = learner("label_conditioned", algorithm, oversight=1.0, n_epochs=4, width=16).learn(512 * 30)
    evaluate, _ = agents.make_evaluator(ENV, 0, size=3, oversight_prob=1.0)
    good, bad = evaluate.each(model.policy, [agents.BlockUse((1.0, 0.0, 0.0)), agents.BlockUse((0.0, 1.0, 0.0))])
    assert good.true_return > bad.true_return + 0.1
