import copy
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from agents.studies import splits
from agents.studies.splits import BOTH, BOTTOM, TOP, Penalties, SplitCode

RUN = SimpleNamespace(seed=0, record=lambda step, values: None, progress=lambda share: None)


def squares(outputs, targets):
    return (outputs - targets).square().mean(1)


@pytest.fixture
def model():
    torch.manual_seed(0)
    return SplitCode(nn.Linear(3, 4, bias=False), nn.Linear(4, 3))


@pytest.fixture
def inputs():
    return torch.randn(12, 3, generator=torch.Generator().manual_seed(1))


def encoder_gradient(model, inputs, label, penalties=None):
    with splits.split_router(model)(torch.full((len(inputs),), label)):
        outputs, code = model(inputs)
    loss = squares(outputs, inputs).mean() if penalties is None else penalties.of(code)
    return torch.autograd.grad(loss, model.encoder.weight)[0]


def test_an_example_sends_its_gradient_through_its_own_half_only(model, inputs):
    plain = torch.autograd.grad(squares(model(inputs)[0], inputs).mean(), model.encoder.weight)[0]
    torch.testing.assert_close(encoder_gradient(model, inputs, BOTH), plain)
    top, bottom = encoder_gradient(model, inputs, TOP), encoder_gradient(model, inputs, BOTTOM)
    torch.testing.assert_close(top, torch.cat([plain[:2], torch.zeros(2, 3)]))
    torch.testing.assert_close(bottom, torch.cat([torch.zeros(2, 3), plain[2:]]))


def test_the_penalties_are_not_routed(model, inputs):
    gradients = [encoder_gradient(model, inputs, label, Penalties()) for label in (TOP, BOTH)]
    torch.testing.assert_close(*gradients)


def test_the_router_equals_a_loop_over_examples(model, inputs):
    labels = torch.arange(12) % 3
    assert splits.split_router(model).check(inputs, labels, loss=lambda out: out[0].square().mean()) < 1e-10


def test_training_in_which_all_examples_train_both_halves_is_plain_training(model, inputs):
    duplicate = copy.deepcopy(model)
    for trained, labels in ((model, None), (duplicate, torch.full((12,), BOTH))):
        splits.train_split(RUN, trained, inputs, inputs, squares, labels, Penalties(), steps=5)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), duplicate.parameters(), strict=True))


def test_the_correlation_of_halves_is_that_of_numpy():
    code = torch.randn(50, 4, generator=torch.Generator().manual_seed(0))
    expected = torch.corrcoef(code.T)[:2, 2:].abs().mean()
    torch.testing.assert_close(splits.correlation(code), expected)


def test_equal_halves_of_one_unit_correlate_fully_and_a_constant_unit_does_not():
    unit = torch.arange(5.0)[:, None]
    assert float(splits.correlation(torch.cat([unit, -unit], 1))) == pytest.approx(1)
    assert float(splits.correlation(torch.cat([unit, torch.ones(5, 1)], 1))) == 0


def test_the_l1_penalty_is_the_mean_over_examples_of_the_sum_of_absolute_values():
    code = torch.tensor([[1.0, -2.0], [3.0, 0.0]])
    assert float(Penalties(l1=1.0, correlation=0.0).of(code)) == 3.0


def test_a_certificate_reads_what_is_in_its_half_and_nothing_else(inputs):
    copying = SplitCode(nn.Linear(3, 4, bias=False), nn.Linear(4, 3))
    with torch.no_grad():
        copying.encoder.weight.copy_(torch.tensor([[1.0, 0, 0], [0, 1, 0], [0, 0, 0], [0, 0, 0]]))
    targets = inputs[:, :2]
    before = copying.encoder.weight.clone()

    def decoder():
        linear = nn.Linear(2, 2)
        with torch.no_grad():
            linear.weight.copy_(torch.eye(2))  # near the solution, so that few steps suffice
            linear.bias.zero_()
        return linear

    read = splits.certify_halves(RUN, copying, decoder, inputs, targets, squares, steps=400)
    assert float(squares(read["top"](inputs), targets).max()) < 1e-2
    assert float(read["bottom"](inputs).std(0).max()) == 0
    assert torch.equal(copying.encoder.weight, before)


def test_a_share_of_examples_is_labelled_and_the_others_train_both_halves():
    groups = torch.arange(1000) % 2
    labels = splits.group_labels(groups, 0.2, seed=0)
    assert 150 < int((labels != BOTH).sum()) < 250
    assert torch.equal(labels[labels != BOTH], groups[labels != BOTH])
    assert torch.equal(splits.group_labels(groups, 1.0, seed=0), groups)


def test_certificates_do_not_depend_on_the_scale_of_the_code(model, inputs):
    larger = copy.deepcopy(model)
    with torch.no_grad():
        larger.encoder.weight.mul_(1024)  # a power of two, so that the division is exact
    outputs = []
    for coded in (model, larger):
        torch.manual_seed(0)
        read = splits.certify_halves(RUN, coded, lambda: nn.Linear(2, 3), inputs, inputs, squares, steps=3)
        outputs.append(read["bottom"](inputs))
    assert torch.equal(*outputs)
