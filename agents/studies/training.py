"""Minibatch training with Adam, and the multilayer perceptrons that the studies of images train."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from agents.studies.study import Run


def perceptron(sizes: Sequence[int], last_bias: bool = True) -> nn.Sequential:
    """Build linear layers of these sizes with ReLU between them; `last_bias` is whether the last one has a bias."""
    pairs = list(pairwise(sizes))
    layers: list[nn.Module] = []
    for i, (inputs, outputs) in enumerate(pairs):
        last = i == len(pairs) - 1
        layers += [nn.Linear(inputs, outputs, bias=last_bias or not last), *([] if last else [nn.ReLU()])]
    return nn.Sequential(*layers)


def minibatches(count: int, size: int, steps: int, seed: int) -> Iterator[Tensor]:
    """Yield (size,) indices for each step, drawn without replacement within an epoch.

    A last batch of an epoch that would be incomplete is dropped; a size above `count` gives whole epochs.
    """
    generator, size = torch.Generator().manual_seed(seed), min(size, count)
    order: Iterator[Tensor] = iter(())
    for _ in range(steps):
        batch = next(order, None)
        if batch is None:
            order = iter(torch.randperm(count, generator=generator)[: count - count % size].split(size))
            batch = next(order)
        yield batch


def minimise(
    loss: Callable[[Tensor], Tensor],
    parameters: Iterable[nn.Parameter],
    count: int,
    *,
    steps: int,
    seed: int,
    batch: int = 64,
    rate: float = 1e-3,
    weight_decay: float = 0.0,
    report: Callable[[int, Tensor], None] = lambda step, value: None,
) -> None:
    """Minimise a loss with Adam.

    Args:
        loss: maps the (B,) indices of a minibatch to a scalar.
        parameters: those that are trained.
        count: the number of training examples.
        steps: the number of updates.
        seed: of the order of the examples, so that arms with equal seed see the same minibatches.
        batch: B, the examples in a minibatch.
        rate: Adam's step size.
        weight_decay: Adam's L2 penalty.
        report: is called after each update with its number, from 1, and the loss.
    """
    optimizer = torch.optim.Adam(parameters, rate, weight_decay=weight_decay, fused=True)
    for step, indices in enumerate(minibatches(count, batch, steps, seed), 1):
        value = loss(indices)
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        report(step, value.detach())


def training_curve(run: Run, steps: int, share: float = 1.0) -> Callable[[int, Tensor], None]:
    """Returns a `report` for `minimise` that records twenty points of the loss; training is this share of the run."""

    def report(step: int, value: Tensor) -> None:
        if step % max(1, steps // 20) == 0:
            run.record(step, {"training_loss": float(value)})
            run.progress(share * step / steps)

    return report
