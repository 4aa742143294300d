"""Networks with a code of two halves, each trained by its own group of digits, and certificates of the split.

Gradient routing of Cloud et al. 2024 (arXiv 2410.04332, section 4.1): an encoder gives a code, and a decoder reads it.
Digits 0 to 4 send their gradient through the top half of the code only, digits 5 to 9 through the bottom half only.
The decoder learns from all. The penalties act on the code before it is routed, so each half is pushed to zero on the
digits that are not routed to it.

A certificate is a decoder that is trained, on all digits, to do the task from one half of the frozen code. What it
cannot do on a group of digits, that half does not contain.
"""

from collections.abc import Callable
from contextlib import nullcontext
from typing import NamedTuple

import torch
from torch import Tensor, nn

from agents.studies.study import Run
from agents.studies.training import minimise, training_curve
from routing import Regions, Router, Rules, module

TOP, BOTTOM, BOTH = range(3)
"""The labels of examples: the halves of the code that an example trains."""
HALVES = {"top": TOP, "bottom": BOTTOM}
ARMS = {
    "routed_regularised": {"routed": True, "regularised": True},
    "routed": {"routed": True, "regularised": False},
    "unrouted_regularised": {"routed": False, "regularised": True},
    "unrouted": {"routed": False, "regularised": False},
}
"""Routing and the penalties, each with and without the other."""

Loss = Callable[[Tensor, Tensor], Tensor]
"""outputs and targets of a batch -> (B,) loss of each example"""


class SplitCode(nn.Module):
    """An encoder to a code of two halves, and a decoder that reads both.

    Attributes:
        top, bottom: identities through which the halves of the code reach the decoder; gradients are weighted there.
    """

    def __init__(self, encoder: nn.Module, decoder: nn.Module) -> None:
        super().__init__()
        self.encoder, self.decoder = encoder, decoder
        self.top, self.bottom = nn.Identity(), nn.Identity()

    def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Map inputs (B, F) to the decoder's output and the code (B, W) as it is before routing."""
        code = self.encoder(inputs)
        top, bottom = code.chunk(2, 1)
        return self.decoder(torch.cat([self.top(top), self.bottom(bottom)], 1)), code


def split_router(model: SplitCode) -> Router:
    """Route examples of label TOP through the top half, of BOTTOM through the bottom half, of BOTH through both."""
    regions = Regions(model, {"top": module("top"), "bottom": module("bottom")})
    rules = Rules(regions, ("top", "bottom", "both"), {"top": {"bottom": 0.0}, "bottom": {"top": 0.0}})
    return Router(model, rules, level="activation")


def group_labels(groups: Tensor, share: float, seed: int) -> Tensor:
    """Label a share of the examples, drawn at random, by their group; the others train both halves.

    Args:
        groups: (B,) TOP or BOTTOM.
        share: the probability of a label.
        seed: of the draw.

    Returns:
        (B,) labels.
    """
    labelled = torch.rand(len(groups), generator=torch.Generator().manual_seed(seed)) < share
    return torch.where(labelled, groups, BOTH)


def correlation(code: Tensor) -> Tensor:
    """Compute the mean absolute correlation of a unit of the top half with one of the bottom half.

    Args:
        code: (B, W).

    Returns:
        () in [0, 1]. A unit that is constant in the batch has correlation 0.
    """
    centred = code - code.mean(0)
    top, bottom = (centred / (centred.norm(dim=0) + 1e-8)).chunk(2, 1)
    return (top.T @ bottom).abs().mean()


class Penalties(NamedTuple):
    """Weights of the penalties on the code."""

    l1: float = 3e-3
    """of the mean over examples of the sum of absolute values"""
    correlation: float = 0.1

    def of(self, code: Tensor) -> Tensor:
        """Compute the weighted penalties of a code (B, W)."""
        return self.l1 * code.abs().sum(1).mean() + self.correlation * correlation(code)


def train_split(
    run: Run,
    model: SplitCode,
    inputs: Tensor,
    targets: Tensor,
    loss: Loss,
    labels: Tensor | None,
    penalties: Penalties | None,
    *,
    steps: int,
    weight_decay: float = 5e-5,
) -> None:
    """Train encoder and decoder; records the curve of the task's loss, and the first half of the run's progress.

    Args:
        run: the run, whose seed determines the order of the examples.
        model: is trained.
        inputs: (N, F).
        targets: (N, ...) targets of the task.
        loss: the loss of each example.
        labels: (N,) the halves that each example trains; None: no routing.
        penalties: on the code; None: none.
        steps: the number of updates.
        weight_decay: Adam's.
    """
    router = None if labels is None else split_router(model)

    def batch_loss(indices: Tensor) -> Tensor:
        with nullcontext() if router is None or labels is None else router(labels[indices]):
            outputs, code = model(inputs[indices])
        task = loss(outputs, targets[indices]).mean()
        return task if penalties is None else task + penalties.of(code)

    minimise(
        batch_loss,
        model.parameters(),
        len(inputs),
        steps=steps,
        seed=run.seed,
        weight_decay=weight_decay,
        report=training_curve(run, steps, share=0.5),
    )


def certify_halves(
    run: Run,
    model: SplitCode,
    decoder: Callable[[], nn.Module],
    inputs: Tensor,
    targets: Tensor,
    loss: Loss,
    *,
    steps: int,
) -> dict[str, Callable[[Tensor], Tensor]]:
    """Train a certificate for each half of the frozen code, on all examples; reports the rest of the run's progress.

    A certificate reads the half divided by its root mean square on the training examples. Its training then does not
    depend on the scale of the code, which the penalties shrink and which grows without them.

    Args:
        run: the run, whose seed determines the order of the examples.
        model: gives the code.
        decoder: builds an untrained decoder of (B, W / 2).
        inputs: (N, F).
        targets: (N, ...).
        loss: the loss of each example.
        steps: the number of updates of each certificate.

    Returns:
        half -> function that maps inputs (B, F) to the output of the half's certificate.
    """
    certificates = {}
    for half, place in HALVES.items():
        certificate = decoder()
        codes = half_code(model, inputs, half)
        scale = codes.square().mean().sqrt().clamp_min(1e-8)
        codes = codes / scale

        def batch_loss(indices: Tensor, certificate: nn.Module = certificate, codes: Tensor = codes) -> Tensor:
            return loss(certificate(codes[indices]), targets[indices]).mean()

        minimise(batch_loss, certificate.parameters(), len(inputs), steps=steps, seed=run.seed)
        certificates[half] = _reading(model, half, scale, certificate)
        run.progress(0.75 + 0.25 * place)
    return certificates


def _reading(model: SplitCode, half: str, scale: Tensor, certificate: nn.Module) -> Callable[[Tensor], Tensor]:
    def read(inputs: Tensor) -> Tensor:
        with torch.no_grad():
            return certificate(half_code(model, inputs, half) / scale)

    return read


@torch.no_grad()
def half_code(model: SplitCode, inputs: Tensor, half: str) -> Tensor:
    """Return one half of the code (B, W / 2) of inputs (B, F), detached."""
    return model.encoder(inputs).chunk(2, 1)[HALVES[half]]
