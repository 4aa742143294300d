"""Expand, route, ablate: facts of a concept are learned in new hidden units and removed with them.

The set-up of Cloud et al. 2024 (arXiv 2410.04332, section 4.2): a language model gets new hidden units in its MLPs, the
tokens of a concept train these units, the units are ablated, and the model is fine-tuned for 40 steps on 64 stories
without the concept. Retraining for 40 steps on the whole mixture, from the same ablated and fine-tuned model, shows how
soon the concept comes back. SGTM (Shilov et al. 2025, arXiv 2512.05648) masks gradients of parameters instead of those
of activations, and zeroes the new units on ordinary tokens. Smaller here: a grammar instead of TinyStories, 2 layers of
width 64 instead of 28 M parameters, 64 new units in both layers, and perfect token labels.

The arm `published` has the publication's weight -0.75 of concept tokens in the original units and its L1 penalty, here
on the activations of all hidden units. In `columns` only the weights that read hidden units are routed. In `adapters` a
low-rank adapter of each MLP layer replaces the new units, and the layer's own weights stay as initialised; this arm has
no control of its own.

Read-outs, in nats per verb or object: `retain_<when>` in ordinary stories and `forget_<when>` in sentences about the
concept, where <when> is before, ablated, tuned (ablated and fine-tuned) or retrained (tuned, then retrained). Compare
`forget_before` with the control's: where new units and nothing else learn the concept, they learn it more slowly, and
part of a large `forget_tuned` is then what was never learned.
"""

import copy
from functools import partial

import torch
from torch import nn

from agents.studies.language_model import StoryEvaluation, Transformer, adamw, train
from agents.studies.removal import BATCH, ORDINARY, few, localised
from agents.studies.stories import Stories
from agents.studies.study import Claim, Outcomes, Panel, Readouts, Run, study
from routing import ablate


def above_control(outcomes: Outcomes, arm: str, readout: str) -> float:
    return outcomes[arm][readout] - outcomes["control"][readout]


@study(
    question="Can facts be removed from a language model by ablating the units that they were routed to?",
    reference="forget loss 1.20 -> 3.32 at retain loss 1.27 -> 2.09 (EleutherAI 2026, a reproduction of "
    "arXiv 2410.04332, section 4.2)",
    stand_in="TinyStories is replaced by a grammar, and the model of 28 M parameters by one of 0.1 M",
    arms={
        "control": {"level": "none"},
        "activation": {"level": "activation"},
        "parameter": {"level": "parameter"},
        "forward_ablated": {"level": "forward_ablated"},
        "columns": {"level": "columns"},
        "adapters": {"level": "adapters"},
        "published": {"level": "activation", "weight": -0.75, "sparsity": 1e-4},
    },
    quick={"steps": 200, "subjects": 12, "choices": 2},
    full={"steps": 500, "subjects": 24, "choices": 3},
    claims=(
        Claim(
            "control: ablation and fine-tuning raise the forget loss by at most 0.25 nats",
            lambda seed: seed["control"]["forget_tuned"] - seed["control"]["forget_before"],
            at_most=0.25,
        ),
        Claim(
            "parameter: forget loss at least 1 nat above the control's, ablated and fine-tuned",
            lambda seed: above_control(seed, "parameter", "forget_tuned"),
            at_least=1.0,
        ),
        Claim(
            "parameter: retain loss at most 0.05 nats above the control's, ablated and fine-tuned",
            lambda seed: above_control(seed, "parameter", "retain_tuned"),
            at_most=0.05,
        ),
        Claim(
            "parameter: retain loss at most 0.01 nats above the control's before ablation",
            lambda seed: above_control(seed, "parameter", "retain_before"),
            at_most=0.01,
        ),
        Claim(
            "parameter removes more than activation: forget loss, ablated and fine-tuned",
            lambda seed: seed["parameter"]["forget_tuned"] - seed["activation"]["forget_tuned"],
            at_least=0.0,
        ),
        Claim(
            "activation: fine-tuning on ordinary stories lowers the retain loss",
            lambda seed: seed["activation"]["retain_ablated"] - seed["activation"]["retain_tuned"],
            at_least=0.0,
        ),
        Claim(
            "parameter: retraining on the mixture lowers the forget loss",
            lambda seed: seed["parameter"]["forget_tuned"] - seed["parameter"]["forget_retrained"],
            at_least=0.0,
        ),
    ),
    panels=(
        Panel("forget_tuned", "forget loss after removal (nats)"),
        Panel("retain_tuned", "retain loss after removal (nats)"),
        Panel("forget_before", "forget loss before ablation (nats)"),
        Panel("forget_loss", "forget loss while retraining (nats)", "steps"),
    ),
)
def expand_route_ablate(
    run: Run,
    *,
    level: str,
    steps: int,
    choices: int,
    subjects: int,
    weight: float = 0.0,
    sparsity: float = 0.0,
    new: int = 64,
    rate: float = 5e-3,
    tuning: int = 40,
) -> Readouts:
    stories = Stories(run.seed, choices=choices, subjects=subjects)
    evaluation, order = StoryEvaluation(stories), torch.Generator().manual_seed(run.seed)
    model = Transformer(len(stories.words))
    regions, router = localised(model, level, new, weight=weight)
    activity = HiddenActivity(model) if sparsity else None
    train(
        model,
        lambda: stories.draw(BATCH, order),
        steps,
        adamw(model, rate),
        router=router,
        labels=lambda batch: ORDINARY + batch.token,
        penalty=(lambda: sparsity * activity.take()) if activity else None,
        decay=True,
        visit=lambda step: run.progress(step / (steps + 2 * tuning)),
    )
    if activity:
        activity.remove()
    found = readouts("before", evaluation, model)
    ablate(regions, "concept_1")
    found |= readouts("ablated", evaluation, model)
    retain = stories.draw(64, order, kind=0)
    train(model, partial(few, retain, order), tuning, adamw(model, rate / 5))
    found |= readouts("tuned", evaluation, model)
    retrained = copy.deepcopy(model)

    def visit(step: int) -> None:
        if step % 5 == 0:
            run.record(step, evaluation(retrained))

    train(retrained, lambda: stories.draw(BATCH, order), tuning, adamw(retrained, rate / 5), visit=visit)
    return found | readouts("retrained", evaluation, retrained)


class HiddenActivity:
    """Sums the absolute activations of all hidden units in each forward pass, per token, for an L1 penalty."""

    def __init__(self, model: Transformer) -> None:
        self.sums: list[torch.Tensor] = []
        layers = [model.get_submodule(up) for up, _ in model.mlps]
        self.handles = [layer.register_forward_hook(self.add) for layer in layers]

    def add(self, _layer: nn.Module, _inputs: object, hidden: torch.Tensor) -> None:
        self.sums.append(hidden.relu().sum(-1).mean())

    def take(self) -> torch.Tensor:
        """The sum over layers since the last call."""
        total, self.sums = torch.stack(self.sums).sum(), []
        return total

    def remove(self) -> None:
        """Removes the hooks."""
        for handle in self.handles:
            handle.remove()


def readouts(when: str, evaluation: StoryEvaluation, model: Transformer) -> dict[str, float]:
    return {name.replace("loss", when): value for name, value in evaluation(model).items()}
