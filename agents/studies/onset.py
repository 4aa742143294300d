"""The onset of routing: can a concept be routed to new units after the model has learned it?

Routing localises what is learned while it is on. Cloud et al. 2024 (arXiv 2410.04332) report that it fails as
fine-tuning of a finished model, and so does a reproduction: forget loss 1.34 at retain loss 1.12 (EleutherAI 2026),
against 3.32 if the model is routed from scratch. Here routing starts after 0 to 100 % of the training steps, and every
model is then fine-tuned for a fifth of these steps, routed: at 100 % routing is fine-tuning of a finished model and
nothing else. All models are then ablated, and fine-tuned for 20 steps on 64 ordinary stories.

Before the onset the new units receive no gradient, and at level forward_ablated they output 0. After it the control
trains them on all tokens, without routing, and is ablated as well. Token labels are perfect.

Read-outs: `forget_before` and `retain_before` ablation, `forget_after` and `retain_after` removal, in nats per verb or
object, and `forget_removed`, the forget loss after minus that before. New units learn the concept more slowly than the
whole model, so part of a large `forget_after` is what was never learned.
"""

import torch

from agents.studies.language_model import StoryEvaluation, Transformer, adamw, train
from agents.studies.removal import BATCH, localised
from agents.studies.removed_models import NEW, RATE, fine_tune, token_labels
from agents.studies.stories import Stories, StoryBatch
from agents.studies.study import Claim, Outcomes, Panel, Readouts, Run, study
from routing import Regions, Router, Rules, ablate


def share_removed(outcomes: Outcomes, arm: str, onset: float) -> float:
    """The forget loss that is removed with routing from an onset, divided by that with routing from the start."""
    return outcomes[arm, onset]["forget_removed"] / outcomes[arm, 0.0]["forget_removed"]


def frozen_units(regions: Regions) -> Router:
    """A router with the one label 0, which trains everything but the new units."""
    return Router(regions.model, Rules(regions, ("everything",), {"everything": {"concept_1": 0.0}}), "parameter")


@study(
    question="Does routing remove a concept if it starts late, or only as fine-tuning of a finished model?",
    reference="as fine-tuning: forget loss 1.34, retain loss 1.12; from scratch: 3.32 (EleutherAI 2026, a reproduction "
    "of arXiv 2410.04332)",
    stand_in="TinyStories is replaced by a grammar, and the model of 28 M parameters by one of 0.1 M",
    arms={
        "control": {"level": "none"},
        "parameter": {"level": "parameter"},
        "forward_ablated": {"level": "forward_ablated"},
    },
    axis="onset",
    quick={"onset": (0.0, 0.25, 0.5, 0.75, 1.0), "steps": 150, "subjects": 12, "choices": 2},
    full={"onset": (0.0, 0.25, 0.5, 0.75, 1.0), "steps": 150, "subjects": 12, "choices": 2},
    claims=(
        Claim(
            "parameter: routing as fine-tuning removes at most half of what routing from the start removes",
            lambda seed: share_removed(seed, "parameter", 1.0),
            at_most=0.5,
        ),
        Claim(
            "forward_ablated: routing as fine-tuning removes at most half of what routing from the start removes",
            lambda seed: share_removed(seed, "forward_ablated", 1.0),
            at_most=0.5,
        ),
        Claim(
            "parameter: routing from the start removes at least 1 nat more than the control",
            lambda seed: seed["parameter", 0.0]["forget_removed"] - seed["control", 0.0]["forget_removed"],
            at_least=1.0,
        ),
        Claim(
            "forward_ablated: routing from the start removes at least 1 nat more than the control",
            lambda seed: seed["forward_ablated", 0.0]["forget_removed"] - seed["control", 0.0]["forget_removed"],
            at_least=1.0,
        ),
    ),
    panels=(
        Panel(
            "forget_removed", "removed forget loss (nats)", "axis", horizontal="onset of routing (share of training)"
        ),
        Panel("forget_after", "forget loss after removal (nats)", "axis", horizontal="onset of routing"),
        Panel("retain_after", "retain loss after removal (nats)", "axis", horizontal="onset of routing"),
    ),
)
def onset(run: Run, *, level: str, onset: float, steps: int, subjects: int, choices: int) -> Readouts:
    stories = Stories(run.seed, subjects=subjects, choices=choices)
    evaluation, order = StoryEvaluation(stories), torch.Generator().manual_seed(run.seed)
    model = Transformer(len(stories.words))
    regions, router = localised(model, level, NEW)
    train_from_onset(run, regions, router, stories, order, round(onset * steps), steps)
    before = evaluation(model)
    ablate(regions, "concept_1")
    fine_tune(model, stories, order, 20)
    after = evaluation(model)
    return {
        "forget_before": before["forget_loss"],
        "retain_before": before["retain_loss"],
        "forget_after": after["forget_loss"],
        "retain_after": after["retain_loss"],
        "forget_removed": after["forget_loss"] - before["forget_loss"],
    }


def train_from_onset(
    run: Run,
    regions: Regions,
    router: Router | None,
    stories: Stories,
    order: torch.Generator,
    start: int,
    steps: int,
) -> None:
    """Trains for `steps` steps, the new units from step `start` on, then fine-tunes for a fifth of these steps."""
    model, optimizer = regions.model, adamw(regions.model, RATE)

    def visit(done: int) -> None:
        for group in optimizer.param_groups:
            group["lr"] = step_size(done / steps)
        run.progress(done / (1.2 * steps))

    def draw() -> StoryBatch:
        return stories.draw(BATCH, order)

    router_before = frozen_units(regions)
    labels_before = lambda batch: torch.zeros_like(batch.token)  # noqa: E731
    train(model, draw, start, optimizer, router=router_before, labels=labels_before, visit=visit)
    labels = token_labels if router else None
    rest = steps - start + steps // 5
    train(model, draw, rest, optimizer, router=router, labels=labels, visit=lambda step: visit(start + step))


def step_size(done: float) -> float:
    """The step size after a share of the training steps: a linear decay over the last half, then a fifth."""
    return RATE * (min(1.0, 2 * (1 - done)) if done < 1 else 0.2)
