"""Routed gradients equal a loop over examples, forward values are unchanged, and the model is restored afterwards."""

import pytest
import torch
from routing_cases import CASES, COMBINATIONS, error, gradients, setup
from torch import nn

from routing import Regions, Router, Rules, module, params, scale_grad, units


@pytest.fixture
def model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 2)).double()


@pytest.fixture
def rules(model) -> Rules:
    regions = Regions(model, {"first": module("0"), "half": units("0", slice(0, 3), out="2")})
    return Rules(regions, ("seen", "unseen"), {"seen": {"first": 0.25}, "unseen": {"half": -2.0}})


@pytest.fixture
def x() -> torch.Tensor:
    return torch.randn(2, 4, dtype=torch.float64)


@pytest.mark.parametrize(("name", "level", "soft"), COMBINATIONS)
def test_gradients_equal_a_loop_over_examples_and_differ_from_unrouted_ones(name, level, soft):
    relative, change = error(name, level, soft)
    assert relative <= 1e-12
    assert change > 0.1


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("level", ["activation", "parameter"])
def test_forward_is_bit_identical(name, level):
    s = setup(name, level, soft=True)
    plain = s.model(s.inputs)
    with Router(s.model, s.rules, level)(s.labels):
        assert torch.equal(plain, s.model(s.inputs))


def test_dropout_in_a_layer_evaluated_twice_draws_the_same_numbers():
    attention = nn.MultiheadAttention(8, 2, dropout=0.5, batch_first=True).double()
    x = torch.randn(3, 5, 8, dtype=torch.float64)

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.attention = attention

        def forward(self, x):
            torch.manual_seed(1)
            return self.attention(x, x, x)[0] + torch.rand(())

    model = Model()
    rules = Rules(Regions(model, {"a": module("attention")}), ("l",), {"l": {"a": 3.0}})
    plain = gradients(model, x, torch.ones_like(x))
    with Router(model, rules, "parameter")(torch.zeros(3, dtype=torch.long)):
        assert torch.equal(model(x), model(x))
        routed = gradients(model, x, torch.ones_like(x))
    for name, gradient in plain.items():
        torch.testing.assert_close(routed[name], 3 * gradient)


@pytest.mark.parametrize(
    "level", ["activation", "parameter"]
)  # the first layer is all that lies upstream of its output
def test_labels_of_tokens_weight_the_contribution_of_each_token(model, level):
    """The expected value gives each token its own copy of the layer, whose gradient is the token's contribution."""
    x, labels = torch.randn(3, 5, 4, dtype=torch.float64), torch.randint(0, 2, (3, 5))
    regions = Regions(model, {"first": module("0")})
    rules = Rules(regions, ("a", "b"), {"a": {"first": 0.3}, "b": {"first": -1.7}})
    with Router(model, rules, level)(labels):
        found = gradients(model, x, torch.ones(3, 5, 2, dtype=torch.float64))["0.weight"].clone()
    copies = model[0].weight.detach().expand(3, 5, 6, 4).clone().requires_grad_()
    hidden = torch.einsum("btoi,bti->bto", copies, x) + model[0].bias
    model[2](hidden.tanh()).sum().backward()
    expected = torch.einsum("bt,btoi->oi", rules.weigh(labels)[..., 0], copies.grad)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-14)


def test_a_mixed_batch_equals_the_sum_of_batches_of_one_label(model, rules, x):
    labels, ones = torch.tensor([0, 1]), torch.ones(2, 2, dtype=torch.float64)
    router = Router(model, rules, "parameter")
    with router(labels):
        mixed = gradients(model, x, ones)
        mixed = {name: gradient.clone() for name, gradient in mixed.items()}
    total = {name: torch.zeros_like(gradient) for name, gradient in mixed.items()}
    for i in range(2):
        with router(labels[i : i + 1]):
            for name, gradient in gradients(model, x[i : i + 1], ones[:1]).items():
                total[name] += gradient
    for name, gradient in mixed.items():
        torch.testing.assert_close(gradient, total[name], rtol=1e-12, atol=1e-14)


def test_routers_nest_and_their_weights_multiply(model, rules, x):
    labels, ones = torch.tensor([0, 1]), torch.ones(2, 2, dtype=torch.float64)
    first, second = (Router(model, rules, "parameter") for _ in range(2))
    squared = Rules(rules.regions, rules.labels)
    squared.table = rules.table**2
    with first(labels), second(labels):
        nested = {name: gradient.clone() for name, gradient in gradients(model, x, ones).items()}
    with Router(model, squared, "parameter")(labels):
        once = gradients(model, x, ones)
    for name, gradient in nested.items():
        torch.testing.assert_close(gradient, once[name])


def test_a_router_nested_in_itself_restores_its_labels(model, rules):
    router = Router(model, rules)
    with router(["seen", "seen"]):
        with router(["unseen", "unseen"]):
            assert router.weights("half").tolist() == [-2, -2]
        assert router.weights("half").tolist() == [1, 1]


def test_an_override_changes_the_level_of_a_region(model, x):
    """A mask on the last layer's activations stops the first layer; a mask on its parameters does not."""
    rules = Rules(Regions(model, {"last": module("2")}), ("l",), {"l": {"last": 0.0}})
    reached = {}
    for level in ("activation", "parameter"):
        with Router(model, rules, "rows", {"last": level})(torch.zeros(2, dtype=torch.long)):
            found = gradients(model, x, torch.ones(2, 2, dtype=torch.float64))
        reached[level] = [bool(found[name].any()) for name in ("0.weight", "2.weight")]
    assert reached == {"activation": [False, False], "parameter": [True, False]}


@pytest.mark.parametrize("level", ["activation", "parameter", "forward_ablated"])
def test_leaving_the_context_removes_only_its_own_hooks_even_after_an_error(model, rules, x, level):
    calls = []

    def fail(*_):
        calls.append("second")
        raise ZeroDivisionError

    model[0].register_forward_hook(lambda *_: calls.append("first"))
    with pytest.raises(ZeroDivisionError), Router(model, rules, level)(torch.tensor([0, 1])):
        model[0].register_forward_hook(fail) and model(x)
    with pytest.raises(ZeroDivisionError):
        model(x)
    assert calls == ["first", "second"] * 2
    assert "forward" not in model[0].__dict__


def test_a_forward_that_the_user_replaced_is_restored(model, rules, x):
    def doubled(inputs):
        return 2 * nn.functional.linear(inputs, model[0].weight, model[0].bias)

    model[0].forward = doubled
    with Router(model, rules, "parameter")(torch.tensor([0, 1])):
        routed = gradients(model, x, torch.ones(2, 2, dtype=torch.float64))["0.weight"].clone()
    assert model[0].forward is doubled
    assert not torch.equal(routed, gradients(model, x, torch.ones(2, 2, dtype=torch.float64))["0.weight"])


def test_weights_can_be_used_with_scale_grad(model, rules, x):
    router = Router(model, rules)
    inputs = x.clone().requires_grad_()
    with router(torch.tensor([0, 1])):
        scale_grad(inputs, router.weights("first")).sum().backward()
    assert inputs.grad.unique(dim=1).flatten().tolist() == [0.25, 1.0]


def test_a_forward_pass_outside_the_context_is_not_routed(model, rules, x):
    ones, router = torch.ones(2, 2, dtype=torch.float64), Router(model, rules, "parameter")
    plain = {name: gradient.clone() for name, gradient in gradients(model, x, ones).items()}
    with router(torch.tensor([0, 1])):
        pass
    for name, gradient in gradients(model, x, ones).items():
        assert torch.equal(gradient, plain[name])


def message(call) -> str:
    with pytest.raises(ValueError, match=r".+") as caught:
        call()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_mistake_raises_a_one_line_error(model, rules, x):
    router = Router(model, rules)
    assert "are empty" in message(lambda: router(torch.zeros(0, dtype=torch.long)).__enter__())
    assert "unknown label 2; labels are 0 to 1: seen, unseen" in message(lambda: router.label(torch.tensor([0, 2])))
    assert "unknown label -1" in message(lambda: router.label(torch.tensor([-1])))
    assert "did you mean 'unseen'" in message(lambda: router.label(["unsen"]))
    assert "the last axis must be 2" in message(lambda: router.label(torch.rand(2, 3)))
    with router(["seen"]):
        assert "did you mean 'first'" in message(lambda: router.weights("frst"))
    assert "did you mean 'parameter'" in message(lambda: Router(model, rules, "parameters"))
    assert "did you mean 'half'" in message(lambda: Router(model, rules, overrides={"hlf": "rows"}))
    assert "not rows" in message(lambda: Router(model, rules, "rows"))
    assert "no columns" in message(lambda: Router(model, rules, "columns"))
    assert "belong to another model" in message(lambda: Router(nn.Linear(2, 2), rules))
    with router:
        assert "no labels" in message(lambda: model(x))
    with router(torch.tensor([0, 1, 1])):
        assert "labels are for (3,) examples" in message(lambda: model(x))
    loose = Rules(Regions(model, {"p": params("*.bias")}), ("l",))
    assert "no activations" in message(lambda: Router(model, loose))


def test_batch_norm_in_training_mode_is_rejected():
    model = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3))
    rules = Rules(Regions(model, {"norm": module("1")}), ("l",))
    with Router(model, rules, "parameter")(torch.zeros(4, dtype=torch.long)):
        assert "normalised over the batch" in message(lambda: model(torch.randn(4, 3)))
        model.eval()
        model(torch.randn(4, 3)).sum().backward()


@pytest.mark.parametrize("level", ["activation", "parameter"])
def test_recurrent_networks_are_rejected(level):
    model = nn.Sequential(nn.GRU(3, 3))
    rules = Rules(Regions(model, {"memory": module("0")}), ("l",))
    assert "GRU" in message(lambda: Router(model, rules, level))


def test_the_output_projection_of_attention_has_no_activations():
    model = nn.MultiheadAttention(4, 2)
    rules = Rules(Regions(model, {"out": module("out_proj")}), ("l",))
    assert "out_proj" in message(lambda: Router(model, rules))
