"""A module for each of several concepts: any subset can be removed after one training run.

Every concept has its own new hidden units in the MLPs, its module, and its tokens train this module only (the idea of
GRAM, ICML 2026, with the expansion of Cloud et al. 2024, arXiv 2410.04332, section 4.2). Ablating one module should
remove its concept and no other. Nothing is fine-tuned after ablation. The control has the same modules and no routing.

Read-outs, in nats per verb or object, means over concepts: `forget_none`, the loss of a concept with all modules;
`forget_own` without its own; `forget_other` without one other; `forget_all` without any. `retain_none`, `retain_one`
and `retain_all` are the losses in ordinary stories with all modules, without one, and without any.
"""

from contextlib import ExitStack
from itertools import permutations
from statistics import fmean

import torch

from agents.studies.language_model import StoryEvaluation, Transformer, adamw, train
from agents.studies.removal import BATCH, ORDINARY, localised
from agents.studies.stories import Stories
from agents.studies.study import Claim, Panel, Readouts, Run, study
from routing import Regions, ablated


@study(
    question="Does ablating the module of one concept remove this concept and leave the others?",
    reference="",
    stand_in="GRAM's language model is replaced by one of 0.1 M parameters, and its data by a grammar",
    arms={
        "control": {"level": "none"},
        "activation": {"level": "activation"},
        "parameter": {"level": "parameter"},
        "forward_ablated": {"level": "forward_ablated"},
    },
    quick={"steps": 200, "subjects": 8, "choices": 2},
    full={"steps": 500, "subjects": 16, "choices": 2},
    claims=(
        Claim(
            "activation: without its own module a concept's loss is at least 1 nat above that without another",
            lambda seed: seed["activation"]["forget_own"] - seed["activation"]["forget_other"],
            at_least=1.0,
        ),
        Claim(
            "parameter: without its own module a concept's loss is at least 1 nat above that without another",
            lambda seed: seed["parameter"]["forget_own"] - seed["parameter"]["forget_other"],
            at_least=1.0,
        ),
        Claim(
            "control: without its own module a concept's loss is at most 0.25 nats above that without another",
            lambda seed: seed["control"]["forget_own"] - seed["control"]["forget_other"],
            at_most=0.25,
        ),
        Claim(
            "parameter: without another module a concept's loss is at most 0.25 nats above that with all",
            lambda seed: seed["parameter"]["forget_other"] - seed["parameter"]["forget_none"],
            at_most=0.25,
        ),
    ),
    panels=(
        Panel("forget_own", "loss of a concept without its own module (nats)"),
        Panel("forget_other", "loss of a concept without another module (nats)"),
    ),
)
def modules(
    run: Run,
    *,
    level: str,
    steps: int,
    subjects: int,
    choices: int,
    concepts: int = 3,
    new: int = 32,
    rate: float = 5e-3,
) -> Readouts:
    stories = Stories(run.seed, concepts, share=concepts / 6, subjects=subjects, choices=choices)
    evaluation, order = StoryEvaluation(stories, count=32), torch.Generator().manual_seed(run.seed)
    model = Transformer(len(stories.words))
    regions, router = localised(model, level, new, concepts)
    train(
        model,
        lambda: stories.draw(BATCH, order),
        steps,
        adamw(model, rate),
        router=router,
        labels=lambda batch: ORDINARY + batch.token,
        decay=True,
        visit=lambda step: run.progress(step / steps),
    )
    return losses_without(regions, evaluation, concepts)


def losses_without(regions: Regions, evaluation: StoryEvaluation, concepts: int) -> dict[str, float]:
    """The read-outs of a model whose modules are the regions concept_1, concept_2, ..."""

    def losses(*removed: int) -> list[float]:
        with ExitStack() as stack:
            for k in removed:
                stack.enter_context(ablated(regions, f"concept_{k}"))
            return evaluation.losses(regions.model)

    every = range(1, 1 + concepts)
    none, each, without = losses(), {k: losses(k) for k in every}, losses(*every)
    return {
        "forget_none": fmean(none[1:]),
        "forget_own": fmean(each[k][k] for k in every),
        "forget_other": fmean(each[other][k] for k, other in permutations(every, 2)),
        "forget_all": fmean(without[1:]),
        "retain_none": none[0],
        "retain_one": fmean(each[k][0] for k in every),
        "retain_all": without[0],
    }
