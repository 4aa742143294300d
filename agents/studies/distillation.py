"""Distillation: a fresh language model is trained on the outputs of another.

What a teacher does not output, its student does not learn, even if the teacher's weights still contain it (Lee et al.
2025, arXiv 2506.06278: unlearn, then distill).
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from agents.studies.language_model import Draw, Visit, next_logits, train


def divergences(student: nn.Module, teacher: nn.Module, tokens: Tensor) -> Tensor:
    """KL divergence (B, T) of the student's distribution of each token from the teacher's, in nats."""
    with torch.no_grad():
        target = next_logits(teacher, tokens).log_softmax(-1)
    output = next_logits(student, tokens).log_softmax(-1)
    return functional.kl_div(output, target, reduction="none", log_target=True).sum(-1)


def imitate(
    student: nn.Module,
    teacher: nn.Module,
    draw: Draw,
    steps: int,
    optimizer: torch.optim.Optimizer,
    visit: Visit | None = None,
) -> None:
    """Trains a student on a teacher's outputs for all tokens of stories; arguments as for `train`."""
    train(
        student,
        draw,
        steps,
        optimizer,
        losses=lambda model, tokens: divergences(model, teacher, tokens),
        decay=True,
        visit=visit,
    )
