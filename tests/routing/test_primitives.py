import pytest
import torch

from routing import scale_grad


@pytest.fixture
def x() -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(7, 5, generator=generator, dtype=torch.float64).requires_grad_()


def test_forward_is_the_input_bit_for_bit_even_at_infinity():
    x = torch.tensor([[1e-40, -0.0, float("inf"), 0.1]])
    y = scale_grad(x, torch.tensor([0.3]))
    assert torch.equal(x.view(torch.int32), y.view(torch.int32))


def test_gradient_equals_a_loop_over_samples_with_random_real_weights(x):
    weight = torch.randn(7, dtype=torch.float64)
    layer = torch.nn.Linear(5, 3, dtype=torch.float64)
    layer(scale_grad(torch.tanh(x), weight)).square().sum().backward()
    routed = x.grad.clone()
    for i in range(7):
        one = x[i].detach().requires_grad_()
        layer(torch.tanh(one)).square().sum().backward()
        torch.testing.assert_close(routed[i], weight[i] * one.grad, rtol=1e-12, atol=0)


def test_weights_that_read_the_masked_activation_still_learn(x):
    layer = torch.nn.Linear(5, 3, dtype=torch.float64)
    layer(scale_grad(x, torch.zeros(7, dtype=torch.float64))).sum().backward()
    assert not x.grad.any()
    assert layer.weight.grad.any()


def test_it_equals_the_detach_formula_for_hard_masks(x):
    mask = torch.tensor([1.0, 0, 1, 0, 0, 1, 1], dtype=torch.float64)
    (ours,) = torch.autograd.grad(scale_grad(x.exp(), mask).prod(), x)
    h = x.exp()
    (theirs,) = torch.autograd.grad((mask[:, None] * h + (1 - mask[:, None]) * h.detach()).prod(), x)
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=0)


def test_it_composes_with_torch_func(x):
    weight = torch.arange(7, dtype=torch.float64)

    def loss(row, w):
        return scale_grad(row.square(), w).sum()

    per_sample = torch.func.vmap(torch.func.grad(loss))(x.detach(), weight)
    torch.testing.assert_close(per_sample, weight[:, None] * 2 * x.detach())
