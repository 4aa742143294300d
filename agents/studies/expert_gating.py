"""Gated experts, each trained on one domain by routing with labels, so that any subset of them can be removed.

Set-up in the spirit of GRAM (ICML 2026): N expert networks whose outputs a gate mixes, in one model that is trained
once. The domains are four rotations of the digits of scikit-learn, by 0, 90, 180 and 270 degrees; each expert
classifies digits. Routed, a labelled image trains the expert of its rotation only, and the gate; an image without
label trains all. Then every subset of one to three experts is removed, that is its parameters are set to zero, and the
gate is left as it is.

Controls: the same experts and gate trained without routing; labels shuffled (a placebo). An arm has labels for a fifth
of the images.

Read-outs are accuracies on 359 validation images in each rotation:

- accuracy: of the complete model
- kept_accuracy: mean over subsets of the accuracy on rotations whose expert is kept
- removed_accuracy: on rotations whose expert is removed
- gap: kept_accuracy - removed_accuracy
- worst_kept_loss: largest fall, over subsets, of the accuracy on the rotations kept, against the complete model
"""

from collections.abc import Iterator
from contextlib import ExitStack, nullcontext
from itertools import combinations

import torch
from torch import Tensor, nn

from agents.studies import data
from agents.studies.split_classifier import cross_entropy
from agents.studies.study import Claim, Panel, Run, study
from agents.studies.training import minimise, perceptron, training_curve
from routing import Regions, Router, Rules, ablated, module

ROTATIONS = 4
UNKNOWN = ROTATIONS
"""The label of an image whose rotation is not given."""


class GatedExperts(nn.Module):
    """A mixture of experts: the sum of their outputs, weighted by the softmax of a gate."""

    def __init__(self, pixels: int) -> None:
        super().__init__()
        self.experts = nn.ModuleList(perceptron((pixels, 32, 10)) for _ in range(ROTATIONS))
        self.gate = perceptron((pixels, 32, ROTATIONS))

    def forward(self, images: Tensor) -> Tensor:
        outputs = torch.stack([expert(images) for expert in self.experts], 1)  # (B, experts, 10)
        return (self.gate(images).softmax(1)[:, :, None] * outputs).sum(1)


def expert_regions(model: GatedExperts) -> Regions:
    """Name the experts "0" to "3", each after the rotation that it is for."""
    return Regions(model, {str(i): module(f"experts.{i}") for i in range(ROTATIONS)})


def expert_router(regions: Regions) -> Router:
    """Route images of each rotation to its expert; images of unknown rotation train all experts."""
    weights = {label: {other: 0.0 for other in regions if other != label} for label in regions}
    return Router(regions.model, Rules(regions, (*regions, "unknown"), weights), level="parameter")


def rotated(images: Tensor) -> tuple[Tensor, Tensor]:
    """Rotate images (N, 64) by 0, 90, 180 and 270 degrees: (4 N, 64) images and (4 N,) rotations, one after another."""
    square = images.unflatten(1, (8, 8))
    turned = torch.cat([square.rot90(turns, (1, 2)).flatten(1) for turns in range(ROTATIONS)])
    return turned, torch.arange(ROTATIONS).repeat_interleave(len(images))


def subsets() -> Iterator[tuple[int, ...]]:
    """Iterate over the subsets of experts that are neither empty nor complete."""
    for size in range(1, ROTATIONS):
        yield from combinations(range(ROTATIONS), size)


@torch.no_grad()
def rotation_accuracies(model: nn.Module, images: Tensor, digits: Tensor) -> Tensor:
    """Compute the accuracy on each rotation (4,), of images (4 N, 64) as made by `rotated`."""
    return (model(images).argmax(1) == digits).float().view(ROTATIONS, -1).mean(1)


def removal_readouts(regions: Regions, images: Tensor, digits: Tensor) -> dict[str, float]:
    """Measure the complete model and every subset of removed experts; see the module for the read-outs."""
    complete = rotation_accuracies(regions.model, images, digits)
    kept, removed, losses = [], [], []
    for subset in subsets():
        with ExitStack() as stack:
            for expert in subset:
                stack.enter_context(ablated(regions, str(expert)))
            accuracies = rotation_accuracies(regions.model, images, digits)
        out = torch.zeros(ROTATIONS, dtype=torch.bool)
        out[list(subset)] = True
        kept.append(accuracies[~out].mean())
        removed.append(accuracies[out].mean())
        losses.append((complete - accuracies)[~out].mean())
    means = float(torch.stack(kept).mean()), float(torch.stack(removed).mean())
    return {
        "accuracy": float(complete.mean()),
        "kept_accuracy": means[0],
        "removed_accuracy": means[1],
        "gap": means[0] - means[1],
        "worst_kept_loss": float(max(losses)),
    }


@study(
    question="Can any subset of gated experts be removed, each with its domain, if labels route the domains to them?",
    reference="",
    arms={
        "routed": {"routed": True},
        "unrouted": {"routed": False},
        "shuffled_labels": {"routed": True, "shuffled": True},
        "labels_20": {"routed": True, "labelled": 0.2},
    },
    quick={"steps": 800},
    full={"steps": 3000},
    claims=(
        Claim(
            "routed: the gap between kept and removed rotations is at least 0.3 above that of unrouted experts",
            lambda seed: seed["routed"]["gap"] - seed["unrouted"]["gap"],
            at_least=0.3,
        ),
        Claim(
            "routed: no subset of removed experts costs more than 0.05 of the accuracy on the rotations kept",
            lambda seed: seed["routed"]["worst_kept_loss"],
            at_most=0.05,
        ),
    ),
    panels=(
        Panel("kept_accuracy", "accuracy on rotations kept"),
        Panel("removed_accuracy", "accuracy on rotations removed"),
        Panel("worst_kept_loss", "largest fall of accuracy on rotations kept"),
        Panel("accuracy", "accuracy of the complete model"),
    ),
    stand_in="rotated digits and perceptrons in place of domains of text and a transformer",
)
def expert_gating(
    run: Run, *, routed: bool, steps: int, shuffled: bool = False, labelled: float = 1.0
) -> dict[str, float]:
    """Train one model of gated experts and remove every subset of them.

    Args:
        run: the run.
        routed: whether labelled images train the expert of their rotation only.
        steps: the number of updates.
        shuffled: whether labels are shuffled among the images.
        labelled: the probability with which an image has a label.
    """
    pixels, digits = data.digits()
    train, validation = data.train_and_validation(len(pixels), len(pixels) // 5, run.seed)
    generator = torch.Generator().manual_seed(run.seed)
    images, rotations = rotated(pixels[train])
    classes = digits[train].repeat(ROTATIONS)
    known = torch.rand(len(images), generator=generator) < labelled
    order = torch.randperm(len(images), generator=generator) if shuffled else torch.arange(len(images))
    labels = torch.where(known, rotations[order], UNKNOWN)
    model = GatedExperts(images.shape[1])
    regions = expert_regions(model)
    router = expert_router(regions)

    def loss(indices: Tensor) -> Tensor:
        with router(labels[indices]) if routed else nullcontext():
            return cross_entropy(model(images[indices]), classes[indices]).mean()

    minimise(loss, model.parameters(), len(images), steps=steps, seed=run.seed, report=training_curve(run, steps))
    return removal_readouts(regions, rotated(pixels[validation])[0], digits[validation].repeat(ROTATIONS))
