"""Unlearning after training: steering of activations, gradient ascent, and selective synaptic dampening.

Representation misdirection (RMU, Li et al. 2024, arXiv 2403.03218, section 4) moves the activations of concept tokens
towards a random direction and keeps those of all other tokens where the frozen model has them. Gradient ascent raises
the loss of concept tokens and lowers that of all others. Selective synaptic dampening (SSD, Foster et al. 2023,
arXiv 2308.07707, equations 5 and 6) scales down the parameters that matter more to the concept than to all data, by
the diagonal of the Fisher information, without any optimiser step.

The functions of tensors hold for any model, those of stories for the language model. All use the labels of a perfect
annotator.
"""

import copy
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from agents.studies.language_model import Draw, Transformer, adamw, token_losses
from agents.studies.stories import StoryBatch

STEERED = "blocks.0"
"""The block whose output RMU steers, and whose parameters it trains."""


def rmu_loss(forget: Tensor, target: Tensor, retain: Tensor, frozen: Tensor, weight: float) -> Tensor:
    """The loss of RMU.

    Args:
        forget: (N, W) activations of concept tokens.
        target: (W,) the random direction times the steering coefficient.
        retain: (M, W) activations of other tokens.
        frozen: (M, W) those of the model before unlearning.
        weight: of the retain term.
    """
    return (forget - target).square().mean() + weight * (retain - frozen).square().mean()


def ascent_loss(forget: Tensor, retain: Tensor, weight: float) -> Tensor:
    """The loss of gradient ascent on the losses `forget` (N,) with descent on `retain` (M,)."""
    return weight * retain.mean() - forget.mean()


def fisher(model: nn.Module, losses: Iterable[Tensor]) -> dict[str, Tensor]:
    """The mean squared gradient of each parameter, the diagonal of the empirical Fisher information.

    Args:
        model: of the losses.
        losses: scalars, one for each example; computed lazily so that one graph exists at a time.
    """
    names, parameters = zip(*model.named_parameters(), strict=True)
    total, count = [torch.zeros_like(parameter) for parameter in parameters], 0
    for count, loss in enumerate(losses, 1):  # noqa: B007
        gradients = torch.autograd.grad(loss, parameters)
        total = [old + gradient.square() for old, gradient in zip(total, gradients, strict=True)]
    return {name: squares / max(count, 1) for name, squares in zip(names, total, strict=True)}


def dampening(forget: Tensor, everything: Tensor, threshold: float, strength: float) -> Tensor:
    """The factors of SSD: `strength` x everything / forget, at most 1, where forget > `threshold` x everything; else 1.

    Args:
        forget: importance of each weight for the concept.
        everything: its importance for all data.
        threshold: alpha of the publication.
        strength: lambda of the publication; the larger, the weaker the dampening.
    """
    factors = (strength * everything / forget.clamp(min=1e-30)).clamp(max=1.0)
    return torch.where(forget > threshold * everything, factors, 1.0)


@torch.no_grad()
def dampen(
    model: nn.Module, forget: dict[str, Tensor], everything: dict[str, Tensor], threshold: float, strength: float
) -> None:
    """Scales every parameter of a model by the factors of SSD; the importances are those that `fisher` returns."""
    for name, parameter in model.named_parameters():
        parameter.mul_(dampening(forget[name], everything[name], threshold, strength))


def descend(loss: Callable[[], Tensor], optimizer: torch.optim.Optimizer, steps: int) -> None:
    """Minimises a loss, which draws its own data."""
    for _ in range(steps):
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()


def unlearn_by_rmu(
    model: Transformer,
    draw: Draw,
    generator: torch.Generator,
    *,
    steps: int = 40,
    coefficient: float = 50.0,
    weight: float = 1.0,
    rate: float = 2e-3,
) -> None:
    """Steers the activations of concept tokens after the first block towards a random direction.

    Args:
        model: edited in place; only the parameters of the block are trained.
        draw: returns stories, some of them about the concept.
        generator: of the direction, whose elements are uniform before it has unit norm.
        steps: the number of optimiser steps.
        coefficient: the norm of the target.
        weight: of the retain term.
        rate: the step size.
    """
    frozen, block = copy.deepcopy(model), model.get_submodule(STEERED)
    direction = torch.rand(model.head.in_features, generator=generator)
    target = coefficient * direction / direction.norm()

    def loss() -> Tensor:
        batch = draw()
        about = batch.token > 0
        with torch.no_grad():
            before = block_outputs(frozen, batch.tokens, STEERED)
        after = block_outputs(model, batch.tokens, STEERED)
        return rmu_loss(after[about], target, after[~about], before[~about], weight)

    descend(loss, adamw(block, rate, weight_decay=0.0), steps)


def unlearn_by_ascent(
    model: Transformer, draw: Draw, *, steps: int = 40, weight: float = 5.0, rate: float = 7e-4
) -> None:
    """Raises the loss of concept tokens and lowers that of all others; arguments as for `unlearn_by_rmu`."""

    def loss() -> Tensor:
        batch = draw()
        losses, about = token_losses(model, batch.tokens), batch.token > 0
        return ascent_loss(losses[about], losses[~about], weight)

    descend(loss, adamw(model, rate, weight_decay=0.0), steps)


def unlearn_by_ssd(
    model: Transformer, forget: StoryBatch, everything: StoryBatch, *, threshold: float = 400.0, strength: float = 1.0
) -> None:
    """Dampens the parameters that matter to the concept tokens of stories more than to the tokens of all stories."""
    concept = fisher(model, story_losses(model, forget, forget.token > 0))
    dampen(model, concept, fisher(model, story_losses(model, everything)), threshold, strength)


def story_losses(model: nn.Module, batch: StoryBatch, mask: Tensor | None = None) -> Iterator[Tensor]:
    """The mean loss of each story's tokens, or of those in a mask (B, T)."""
    for i, tokens in enumerate(batch.tokens):
        losses = token_losses(model, tokens[None])[0]
        yield losses.mean() if mask is None else losses[mask[i]].mean()


def block_outputs(model: nn.Module, tokens: Tensor, block: str) -> Tensor:
    """The residual stream (B, T, W) after a block; its positions are those of the predictions of `tokens`."""
    found: list[Tensor] = []
    with hooked(model, block, found.append):
        token_losses(model, tokens)
    return found[0]


@contextmanager
def hooked(model: nn.Module, layer: str, edit: Callable[[Tensor], Tensor | None]) -> Iterator[None]:
    """Passes the output of a layer to `edit` within a context; a tensor that it returns replaces the output."""
    handle = model.get_submodule(layer).register_forward_hook(lambda _layer, _inputs, output: edit(output))
    try:
        yield
    finally:
        handle.remove()
