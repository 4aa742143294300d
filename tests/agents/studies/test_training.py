import torch
from torch import nn

from agents.studies.training import minibatches, minimise, perceptron


def test_minibatches_of_an_epoch_contain_no_example_twice():
    epoch = torch.cat(list(minibatches(10, 5, 2, seed=0)))
    assert sorted(epoch.tolist()) == list(range(10))


def test_an_incomplete_last_minibatch_is_dropped():
    assert [len(batch) for batch in minibatches(7, 3, 5, seed=0)] == [3] * 5


def test_a_minibatch_larger_than_the_data_is_all_of_it():
    assert [sorted(batch.tolist()) for batch in minibatches(3, 8, 2, seed=0)] == [[0, 1, 2]] * 2


def test_a_perceptron_ends_in_a_linear_layer_with_or_without_bias():
    assert [type(layer) for layer in perceptron((3, 4, 2))] == [nn.Linear, nn.ReLU, nn.Linear]
    assert perceptron((3, 4, 2), last_bias=False)[-1].bias is None


def test_minimising_equals_a_loop_of_adam():
    data = torch.randn(20, generator=torch.Generator().manual_seed(0))
    ours, theirs = nn.Parameter(torch.ones(1)), nn.Parameter(torch.ones(1))
    values = []
    minimise(
        lambda i: (ours - data[i]).square().mean(), [ours], 20, steps=7, seed=3, batch=6, rate=0.1,
        report=lambda step, value: values.append((step, float(value))),
    )  # fmt: skip
    optimizer = torch.optim.Adam([theirs], 0.1, fused=True)
    for batch in minibatches(20, 6, 7, seed=3):
        optimizer.zero_grad()
        (theirs - data[batch]).square().mean().backward()
        optimizer.step()
    assert torch.equal(ours, theirs)
    assert [step for step, _ in values] == list(range(1, 8))
