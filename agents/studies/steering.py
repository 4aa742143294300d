"""Steering: does a steering vector recover a concept that was removed?

A steering vector is the difference of mean residual activations between stories about the concept and ordinary ones,
in the removed model itself; a multiple of it is added to the residual stream after a block, at all tokens (activation
addition, Turner et al. 2023, arXiv 2308.10248). It recovers what a model computes no longer but still could. What was
never learned in the remaining parameters cannot be recovered in this way. The arms are methods of `removed_models`,
which fine-tunes all models on ordinary stories after removal. The arm `dense` is trained without routing and then
ablated like the routed ones; RMU, which itself moves activations of the concept, is the case in which steering should
succeed if it does anywhere.

The block and the coefficient are chosen for each model on held-out stories, by the forget loss, and read out on
others. The placebo is a random direction of equal norm with its own choice. It lowers the loss of a model that is
confidently wrong, since any large vector makes the model less confident; only what is recovered beyond it counts.

Read-outs, in nats per verb or object: `forget_before`, `forget_after`, `forget_removed` (after minus before; of the
filtered model and RMU, before is the model that was trained on everything), `forget_steered` and `forget_placebo`;
`recovered`, the share of the removed forget loss that steering regains, and `recovered_placebo`, nan if nothing was
removed; `coefficient`, the chosen one, and `retain_steered`, the loss in ordinary stories with it.
"""

import math
from collections.abc import Sequence
from contextlib import ExitStack

import torch
from torch import Tensor, nn

from agents.studies.language_model import StoryEvaluation
from agents.studies.removed_models import without_concept
from agents.studies.stories import Stories, StoryBatch
from agents.studies.study import Claim, Panel, Readouts, Run, study
from agents.studies.unlearning import block_outputs, hooked

BLOCKS = ("blocks.0", "blocks.1")
COEFFICIENTS = (-8.0, -4.0, -2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0, 4.0, 8.0)
CHOICE_SEED, STORIES = 2 * 10**6, 64  # of the stories on which the coefficient is chosen
METHODS = {
    "dense": "dense",
    "filtered": "filter_document",
    "activation": "activation",
    "parameter": "parameter",
    "rmu": "rmu",
}


@torch.no_grad()
def mean_difference(model: nn.Module, block: str, concept: StoryBatch, ordinary: StoryBatch) -> Tensor:
    """The steering vector (W,): mean activations after a block over all tokens of stories, concept minus ordinary."""
    means = [block_outputs(model, batch.tokens, block).mean((0, 1)) for batch in (concept, ordinary)]
    return means[0] - means[1]


def random_direction(like: Tensor, generator: torch.Generator) -> Tensor:
    """A vector of equal norm and random direction."""
    direction = torch.randn(like.shape, generator=generator)
    return direction * like.norm() / direction.norm()


def steered_losses(
    model: nn.Module, evaluation: StoryEvaluation, block: str = "", vector: Tensor | None = None
) -> dict[str, float]:
    """The losses with a vector added to the output of a block; None: without."""
    with ExitStack() as stack:
        if vector is not None:
            stack.enter_context(hooked(model, block, lambda output: output + vector))
        return evaluation(model)


def best_steering(
    model: nn.Module, evaluation: StoryEvaluation, vectors: dict[str, Tensor], coefficients: Sequence[float]
) -> tuple[str, float]:
    """The block and the coefficient of its vector with the least forget loss."""
    trials = [(block, coefficient) for block in vectors for coefficient in coefficients]
    return min(
        trials,
        key=lambda trial: steered_losses(model, evaluation, trial[0], trial[1] * vectors[trial[0]])["forget_loss"],
    )


def share_recovered(before: float, after: float, steered: float) -> float:
    """The share of the removed loss that steering regains; nan if the loss after removal is not above that before."""
    return (after - steered) / (after - before) if after > before else math.nan


@study(
    question="Does a steering vector recover a concept that was removed by routing or by filtering?",
    stand_in="natural text is replaced by a grammar, and the language model by one of 0.1 M parameters",
    arms={arm: {"method": method} for arm, method in METHODS.items()},
    quick={"steps": 200, "subjects": 12, "choices": 2},
    full={"steps": 200, "subjects": 12, "choices": 2},
    claims=(
        Claim(
            "parameter: steering recovers at most 10 % of the removed loss more than a random direction",
            lambda seed: seed["parameter"]["recovered"] - seed["parameter"]["recovered_placebo"],
            at_most=0.1,
        ),
        Claim(
            "filtered: steering recovers at most 10 % of the removed loss more than a random direction",
            lambda seed: seed["filtered"]["recovered"] - seed["filtered"]["recovered_placebo"],
            at_most=0.1,
        ),
        Claim(
            "RMU: steering recovers a larger share than after parameter routing",
            lambda seed: seed["rmu"]["recovered"] - seed["parameter"]["recovered"],
            at_least=0.0,
        ),
        Claim(
            "activation: steering recovers a larger share than after parameter routing",
            lambda seed: seed["activation"]["recovered"] - seed["parameter"]["recovered"],
            at_least=0.0,
        ),
    ),
    panels=(
        Panel("recovered", "share of the removed loss recovered by steering"),
        Panel("recovered_placebo", "share recovered by a random direction"),
        Panel("forget_removed", "removed forget loss (nats)"),
        Panel("retain_steered", "retain loss with the steering vector (nats)"),
    ),
)
def steering(run: Run, *, method: str, steps: int, subjects: int, choices: int) -> Readouts:
    stories = Stories(run.seed, subjects=subjects, choices=choices)
    model, before, after = without_concept(run, stories, method, steps)
    generator = torch.Generator().manual_seed(3 * 10**4 + run.seed)
    batches = [stories.draw(STORIES, generator, kind=kind) for kind in (1, 0)]
    vectors = {block: mean_difference(model, block, *batches) for block in BLOCKS}
    placebos = {block: random_direction(vector, generator) for block, vector in vectors.items()}
    held_out, evaluation = StoryEvaluation(stories, CHOICE_SEED, 32), StoryEvaluation(stories)
    found, chosen = [], []
    for candidates in (vectors, placebos):
        block, coefficient = best_steering(model, held_out, candidates, COEFFICIENTS)
        found.append(steered_losses(model, evaluation, block, coefficient * candidates[block]))
        chosen.append(coefficient)
    forgets = before["forget_loss"], after["forget_loss"]
    return {
        "forget_before": forgets[0],
        "forget_after": forgets[1],
        "forget_removed": forgets[1] - forgets[0],
        "forget_steered": found[0]["forget_loss"],
        "forget_placebo": found[1]["forget_loss"],
        "recovered": share_recovered(*forgets, found[0]["forget_loss"]),
        "recovered_placebo": share_recovered(*forgets, found[1]["forget_loss"]),
        "coefficient": chosen[0],
        "retain_steered": found[0]["retain_loss"],
    }
