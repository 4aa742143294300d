"""A small language model of the stories, its training and its evaluation.

The model is a pre-norm decoder. All parameters are in embeddings and linear layers, which gradient routing handles in
one backward pass; norms have none. The loss of a token is that of its prediction from the tokens before it, and a label
of a token is therefore a label of that prediction. Losses are in nats per token.
"""

import math
from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from agents.studies.stories import LENGTH, PERIOD, Stories, StoryBatch
from routing import Router, module, params, units
from routing.selectors import Part

Draw = Callable[[], StoryBatch]
Losses = Callable[[nn.Module, Tensor], Tensor]
Visit = Callable[[int], None]
"""Receives the number of optimiser steps done."""


class Attention(nn.Module):
    """Causal multi-head self-attention."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.inputs, self.output = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = self.inputs(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        return self.output(mixed.transpose(1, 2).flatten(2))


class FeedForward(nn.Module):
    """One hidden layer: `down(relu(up(x)))`."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(width, hidden), nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(self.up(x).relu())


class Block(nn.Module):
    """Attention and FeedForward, each on the normalised residual stream."""

    def __init__(self, width: int, hidden: int, heads: int) -> None:
        super().__init__()
        self.norm_1, self.norm_2 = (nn.LayerNorm(width, elementwise_affine=False) for _ in range(2))
        self.attention, self.mlp = Attention(width, heads), FeedForward(width, hidden)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.norm_1(x))
        return x + self.mlp(self.norm_2(x))


class Transformer(nn.Module):
    """Maps tokens (B, T) to logits (B, T, words) of each next token.

    Layers that studies name: `embedding`, `position`, `blocks.i.attention.{inputs,output}`, `blocks.i.mlp.{up,down}`
    and `head`, which is not tied to the embedding. Initial weights are drawn from the global generator.

    Args:
        words: the size of the vocabulary.
        width: the width of the residual stream.
        hidden: the number of hidden units of each FeedForward.
        layers: the number of blocks.
        heads: the number of attention heads; divides `width`.

    Attributes:
        hidden: the number of hidden units of each FeedForward before it is expanded.
    """

    def __init__(self, words: int, *, width: int = 64, hidden: int = 128, layers: int = 2, heads: int = 4) -> None:
        super().__init__()
        self.hidden = hidden
        self.embedding, self.position = nn.Embedding(words, width), nn.Embedding(LENGTH, width)
        self.blocks = nn.ModuleList(Block(width, hidden, heads) for _ in range(layers))
        self.norm, self.head = nn.LayerNorm(width, elementwise_affine=False), nn.Linear(width, words)
        nn.init.normal_(self.embedding.weight, std=0.5)
        nn.init.normal_(self.position.weight, std=0.1)

    @property
    def mlps(self) -> tuple[tuple[str, str], ...]:
        """The paths of each block's `up` and `down`."""
        return tuple((f"blocks.{i}.mlp.up", f"blocks.{i}.mlp.down") for i in range(len(self.blocks)))

    def forward(self, tokens: Tensor) -> Tensor:
        positions = torch.arange(tokens.shape[1]).expand_as(tokens)
        x = self.embedding(tokens) + self.position(positions)
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))


def original(model: Transformer) -> list[Part]:
    """All parameters of a model but the hidden units that were added to its MLPs, for `Regions`."""
    whole = [module(name) for name in ("embedding", "position", "head")]
    for i, (up, down) in enumerate(model.mlps):
        whole += [module(f"blocks.{i}.attention.{name}") for name in ("inputs", "output")]
        whole += [units(up, slice(0, model.hidden), out=down), params(f"{down}.bias")]
    return whole


def next_logits(model: nn.Module, tokens: Tensor) -> Tensor:
    """Logits (B, T, words) of each token given those before it; the first is predicted from a period."""
    return cast(Tensor, model(functional.pad(tokens[:, :-1], (1, 0), value=PERIOD)))


def token_losses(model: nn.Module, tokens: Tensor) -> Tensor:
    """Loss (B, T) of each token given those before it."""
    logits = next_logits(model, tokens)
    return functional.cross_entropy(logits.flatten(0, 1), tokens.flatten(), reduction="none").view_as(tokens)


def adamw(model: nn.Module, rate: float, weight_decay: float = 0.01) -> torch.optim.AdamW:
    """The optimiser of the studies, on all parameters that require a gradient."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return torch.optim.AdamW(trained, rate, betas=(0.9, 0.95), weight_decay=weight_decay, fused=True)


def train(
    model: nn.Module,
    draw: Draw,
    steps: int,
    optimizer: torch.optim.Optimizer,
    *,
    router: Router | None = None,
    labels: Callable[[StoryBatch], Tensor] | None = None,
    losses: Losses = token_losses,
    weights: Callable[[StoryBatch], Tensor] | None = None,
    penalty: Callable[[], Tensor] | None = None,
    decay: bool = False,
    visit: Visit | None = None,
) -> None:
    """Trains a model on the mean loss of all tokens.

    Args:
        model: trained in place.
        draw: returns the batch of each step.
        steps: the number of optimiser steps.
        optimizer: of the model's parameters; pass the same one again to continue with its moments.
        router: routes gradients by `labels`; None: none is routed.
        labels: batch -> (B,) or (B, T) labels of the router's rules.
        losses: model, tokens (B, T) -> (B, T) loss of each token.
        weights: batch -> (B, T) weights of the tokens' losses, such as 0 for filtered tokens; the mean is over the
            tokens' weights. None: all are 1.
        penalty: added to the loss.
        decay: whether the step size falls linearly to 0 over the last half of the steps.
        visit: called before each step and after the last.
    """
    rates = [group["lr"] for group in optimizer.param_groups]
    for step in range(steps):
        if visit is not None:
            visit(step)
        if decay:
            for group, rate in zip(optimizer.param_groups, rates, strict=True):
                group["lr"] = rate * min(1.0, 2 * (steps - step) / steps)
        batch = draw()
        values = _routed_losses(model, batch, router, labels, losses)
        loss = values.mean() if weights is None else _weighted_mean(values, weights(batch))
        optimizer.zero_grad()
        (loss if penalty is None else loss + penalty()).backward()
        optimizer.step()
    for group, rate in zip(optimizer.param_groups, rates, strict=True):
        group["lr"] = rate
    if visit is not None:
        visit(steps)


def _routed_losses(
    model: nn.Module,
    batch: StoryBatch,
    router: Router | None,
    labels: Callable[[StoryBatch], Tensor] | None,
    losses: Losses,
) -> Tensor:
    if router is None or labels is None:
        return losses(model, batch.tokens)
    with router(labels(batch)):
        return losses(model, batch.tokens)


def _weighted_mean(losses: Tensor, weights: Tensor) -> Tensor:
    return (losses * weights).sum() / weights.sum().clamp(min=1)


class StoryEvaluation:
    """Retain loss and forget losses on held-out stories.

    Args:
        stories: the grammar.
        seed: of the held-out stories.
        count: the number of ordinary stories, and of stories about each concept.
    """

    def __init__(self, stories: Stories, seed: int = 10**6, count: int = 64) -> None:
        generator = torch.Generator().manual_seed(seed)
        kinds = range(1 + stories.concepts)
        batches = [stories.draw(count, generator, kind=kind) for kind in kinds]
        self.batch = StoryBatch(*(torch.cat(parts) for parts in zip(*batches, strict=True)))
        self.masks = [self.batch.retain(), *(self.batch.forget(kind) for kind in kinds if kind)]

    @torch.no_grad()
    def losses(self, model: nn.Module) -> list[float]:
        """The retain loss, and the forget loss of each concept: nats per verb or object."""
        losses = token_losses(model, self.batch.tokens)
        return [float(losses[mask].mean()) for mask in self.masks]

    def __call__(self, model: nn.Module) -> dict[str, float]:
        """`retain_loss`, and `forget_loss`, the mean over concepts."""
        retain, *forget = self.losses(model)
        return {"retain_loss": retain, "forget_loss": math.fsum(forget) / len(forget)}
