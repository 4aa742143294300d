"""Autograd functions weight gradients as a loop over samples does and leave forward values bit-identical."""

import pytest
import torch

from routing import routed_linear, scale_grad
from routing.backward.convolution import Shape, weighted_convolution
from routing.backward.primitives import Weight, scale_grads
from routing.backward.two_pass import join


@pytest.fixture
def x() -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(7, 5, generator=generator, dtype=torch.float64).requires_grad_()


def test_scale_grad_returns_its_input_bit_for_bit_even_at_infinity():
    x = torch.tensor([[1e-40, -0.0, float("inf"), 0.1]])
    y = scale_grad(x, torch.tensor([0.3]))
    assert torch.equal(x.view(torch.int32), y.view(torch.int32))


def test_scale_grad_equals_a_loop_over_samples_with_random_real_weights(x):
    weight = torch.randn(7, dtype=torch.float64)
    layer = torch.nn.Linear(5, 3, dtype=torch.float64)
    layer(scale_grad(torch.tanh(x), weight)).square().sum().backward()
    routed = x.grad.clone()
    for i in range(7):
        one = x[i].detach().requires_grad_()
        layer(torch.tanh(one)).square().sum().backward()
        torch.testing.assert_close(routed[i], weight[i] * one.grad, rtol=1e-12, atol=0)


def test_parameters_that_read_a_masked_activation_still_learn(x):
    layer = torch.nn.Linear(5, 3, dtype=torch.float64)
    layer(scale_grad(x, torch.zeros(7, dtype=torch.float64))).sum().backward()
    assert not x.grad.any()
    assert layer.weight.grad.any()


def test_scale_grad_equals_the_detach_formula_for_hard_masks(x):
    mask = torch.tensor([1.0, 0, 1, 0, 0, 1, 1], dtype=torch.float64)
    (ours,) = torch.autograd.grad(scale_grad(x.exp(), mask).prod(), x)
    h = x.exp()
    (theirs,) = torch.autograd.grad((mask[:, None] * h + (1 - mask[:, None]) * h.detach()).prod(), x)
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=0)


def test_scale_grad_composes_with_torch_func(x):
    weight = torch.arange(7, dtype=torch.float64)

    def loss(row, w):
        return scale_grad(row.square(), w).sum()

    per_sample = torch.func.vmap(torch.func.grad(loss))(x.detach(), weight)
    torch.testing.assert_close(per_sample, weight[:, None] * 2 * x.detach())


def loop(rows, cols, x, W, b, direction):
    """Return gradients of W and b as sums over samples, each weighted by row and column."""
    grad_W, grad_b = torch.zeros_like(W), torch.zeros_like(b)
    for i in range(len(x)):
        W_, b_ = W.detach().requires_grad_(), b.detach().requires_grad_()
        (torch.nn.functional.linear(x[i].detach(), W_, b_).tanh() * direction[i]).sum().backward()
        grad_W += W_.grad * rows[i].reshape(-1, 1) * cols[i].reshape(1, -1)
        grad_b += b_.grad * rows[i]
    return grad_W, grad_b


@pytest.mark.parametrize("per_unit", [False, True])
def test_routed_linear_weights_samples_by_row_and_column_and_not_the_gradient_of_the_input(x, per_unit):
    W, b, direction = torch.randn(3, 5).double(), torch.randn(3).double(), torch.randn(7, 3).double()
    W.requires_grad_(), b.requires_grad_()
    rows = torch.randn((7, 3) if per_unit else 7, dtype=torch.float64)
    cols = torch.randn((7, 5) if per_unit else 7, dtype=torch.float64)
    plain = torch.nn.functional.linear(x, W, b)
    routed = routed_linear(x, W, b, rows, cols)
    assert torch.equal(plain, routed)
    (untouched,) = torch.autograd.grad((plain.tanh() * direction).sum(), x)
    grad_x, grad_W, grad_b = torch.autograd.grad((routed.tanh() * direction).sum(), (x, W, b))
    expected_W, expected_b = loop(rows, cols, x, W, b, direction)
    assert torch.equal(grad_x, untouched)
    torch.testing.assert_close(grad_W, expected_W, rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(grad_b, expected_b, rtol=1e-12, atol=1e-14)


def test_routed_linear_without_weights_is_linear_in_value_and_gradient_bit_for_bit(x):
    layer = torch.nn.Linear(5, 3, dtype=torch.float64)
    inputs = (x, layer.weight, layer.bias)
    ours = torch.autograd.grad(routed_linear(*inputs).square().sum(), inputs)
    theirs = torch.autograd.grad(layer(x).square().sum(), inputs)
    assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))


def test_routed_linear_passes_gradcheck_with_unit_weights_and_to_second_order(x):
    W, b = torch.randn(3, 5).double().requires_grad_(), torch.randn(3).double().requires_grad_()
    assert torch.autograd.gradcheck(routed_linear, (x, W, b))
    assert torch.autograd.gradgradcheck(routed_linear, (x, W, b))


def test_routed_linear_composes_with_torch_func(x):
    W, rows = torch.randn(3, 5, dtype=torch.float64), torch.randn(7, dtype=torch.float64)

    def loss(W, row, weight):
        return routed_linear(row, W, None, weight).square().sum()

    per_sample = torch.func.vmap(torch.func.grad(loss), (None, 0, 0))(W, x.detach(), rows)
    plain = torch.func.vmap(torch.func.grad(loss), (None, 0, None))(W, x.detach(), torch.ones((), dtype=torch.float64))
    torch.testing.assert_close(per_sample, rows[:, None, None] * plain)


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_routed_convolution_in_any_dimension_equals_a_loop_over_samples(dims):
    kind = (torch.nn.Conv1d, torch.nn.Conv2d, torch.nn.Conv3d)[dims - 1]
    layer = kind(4, 6, 3, stride=2, padding=1, dilation=1, groups=2).double()
    x = torch.randn(5, 4, *[6] * dims, dtype=torch.float64).requires_grad_()
    rows = torch.randn(5, dtype=torch.float64)
    shape = Shape(layer.stride, layer.padding, layer.dilation, False, layer.output_padding, 2)
    plain = layer(x)
    routed = weighted_convolution(x, layer.weight, layer.bias, shape, [Weight(rows)], [])
    assert torch.equal(plain, routed)
    direction = torch.randn_like(plain)
    inputs = (x, layer.weight, layer.bias)
    found = torch.autograd.grad((routed * direction).sum(), inputs)
    alone = [torch.autograd.grad((layer(x[i : i + 1]) * direction[i]).sum(), inputs) for i in range(5)]
    torch.testing.assert_close(found[0], torch.stack([one[0] for one in alone]).sum(0))
    for place in (1, 2):
        expected = sum(weight * one[place] for weight, one in zip(rows, alone, strict=True))
        torch.testing.assert_close(found[place], expected, rtol=1e-12, atol=1e-13)


def test_join_passes_the_gradient_to_both_arguments():
    first, second = (torch.full((3,), 2.0, requires_grad=True) for _ in range(2))
    weight = torch.tensor([0.0, 1.0, -0.5])
    join(first, scale_grad(second, weight)).sum().backward()
    assert first.grad.tolist() == [1, 1, 1]
    assert second.grad.tolist() == weight.tolist()


@pytest.mark.parametrize("units", [(0, 2, 1), (1, 5, 1), (0, 5, 2), (3, 4, 1)])
@pytest.mark.parametrize("axis", [1, -1])
def test_weights_of_units_apply_to_those_units_alone(units, axis):
    x, weight = torch.ones(4, 5, 5, requires_grad=True), torch.randn(4)
    scale_grads(x, [Weight(weight, units)], axis).sum().backward()
    expected = torch.ones(4, 5, 5).movedim(axis, -1)
    expected[..., slice(*units)] = weight[:, None, None]
    assert torch.equal(x.grad, expected.movedim(-1, axis))
