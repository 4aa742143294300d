"""Distils a deployed policy into a fresh one (Lee et al. 2025, arXiv 2506.06278: distillation after ablation).

An ablated policy still contains what its remaining blocks learned besides the intended behaviour. A student that starts
from random parameters learns only the teacher's action probabilities.
"""

import torch
from gymnasium.spaces import Discrete
from torch import Tensor

from agents.policies.blocks import BlockUse
from agents.policies.policy import BlockPolicy

ROWS = 4096  # largest minibatch


def distil(
    policy: BlockPolicy,
    deployment_use: BlockUse,
    observations: Tensor | None,
    weights: Tensor | None,
    seed: int,
    updates: int = 2000,
    learning_rate: float = 2e-3,
) -> BlockPolicy:
    """Train a fresh policy to act as the deployed policy does.

    The loss is the mean of KL(teacher || student) over the observations; the student acts as a whole. Each update uses
    all observations if there are at most `ROWS`, else `ROWS` drawn with replacement in proportion to their weights.
    The optimiser is the policy's own kind; its learning rate falls linearly to 0.

    Args:
        policy: the teacher; it is not changed.
        deployment_use: how the teacher's blocks are used.
        observations: (n, *obs) observations to act on.
        weights: (n,) weights of the observations, such as their expected number of visits; None: equal weights.
        seed: of the student's initial parameters and of the minibatches; the global generator is unchanged.
        updates: number of updates.
        learning_rate: of the first update.

    Returns:
        A policy of the same architecture, to be deployed whole. Its critic is not trained. Frozen parameters, such as a
        frozen head or the network under adapters, have new initial values.

    Raises:
        ValueError: there are no observations, the weights do not fit them, or the actions are not discrete.
    """
    if observations is None or not len(observations):
        raise ValueError("distil needs observations to act on, and there are none; deploy without distil")
    if not isinstance(policy.action_space, Discrete):
        raise ValueError(f"distil needs Discrete actions, not {policy.action_space}; deploy without distil")
    observations = observations.to(policy.device)
    shares = _shares(weights, len(observations)).to(policy.device)
    teacher = _log_probabilities(policy, deployment_use, observations)
    student = policy.fresh(seed)
    generator = torch.Generator().manual_seed(seed)
    student.set_training_mode(True)
    for update in range(updates):
        for group in student.optimizer.param_groups:
            group["lr"] = learning_rate * (1 - update / updates)
        rows, row_weights = _batch(shares, generator)
        student.optimizer.zero_grad()
        (_divergence(teacher[rows], student, observations[rows]) @ row_weights).backward()
        student.optimizer.step()
    student.optimizer.zero_grad()
    student.set_training_mode(False)
    return student


def _shares(weights: Tensor | None, count: int) -> Tensor:
    """(n,) weights that add up to 1."""
    if weights is None:
        return torch.full((count,), 1 / count)
    if weights.shape != (count,) or not bool((weights >= 0).all()) or not 0 < float(weights.sum()) < float("inf"):
        raise ValueError(
            f"distil got weights of shape {tuple(weights.shape)} for {count} observations; give one finite weight >= 0 "
            "for each, not all 0"
        )
    return (weights.double() / weights.double().sum()).float()


def _batch(shares: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """The rows of a minibatch and their weights, which add up to 1."""
    if len(shares) <= ROWS:
        return torch.arange(len(shares), device=shares.device), shares
    rows = torch.multinomial(shares.cpu(), ROWS, replacement=True, generator=generator).to(shares.device)
    return rows, torch.full_like(shares[:ROWS], 1 / ROWS)


@torch.no_grad()
def _log_probabilities(policy: BlockPolicy, use: BlockUse, observations: Tensor) -> Tensor:
    """(n, *obs) -> (n, A) of the policy in a use."""
    training = policy.training
    policy.set_training_mode(False)
    try:
        with policy.deployed(*use):
            chunks = [policy.get_distribution(rows).distribution.logits for rows in observations.split(ROWS)]  # type: ignore[union-attr]
    finally:
        policy.set_training_mode(training)
    return torch.cat(chunks)


def _divergence(teacher: Tensor, student: BlockPolicy, observations: Tensor) -> Tensor:
    """KL(teacher || student), (B, A), (B, *obs) -> (B,)."""
    logits = student.get_distribution(observations).distribution.logits  # type: ignore[union-attr]
    return (teacher.exp() * (teacher - logits)).sum(1)
