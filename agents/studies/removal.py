"""Ways to remove a concept from a language model: routing to new units that are ablated, and filtering.

A model is expanded by new hidden units in every MLP, one region for each concept, before it is trained. Tokens labelled
as a concept train its units and not the original parameters; all other tokens train everything (Cloud et al. 2024,
arXiv 2410.04332, section 4.2). At level forward_ablated, tokens labelled as ordinary do not train the new units, which
output 0 for them, and only unlabelled tokens train everything (SGTM, Shilov et al. 2025, arXiv 2512.05648).

What the original parameters are depends on the level. At the levels parameter and forward_ablated they are all other
parameters. At the levels activation and columns they are the original hidden units, as in the first publication, since
a mask on all activations would stop the new units' gradients too.
"""

from functools import partial

import torch
from torch import Tensor

from agents.studies.language_model import StoryEvaluation, Transformer, adamw, original, train
from agents.studies.stories import LENGTH, RETAIN, SENTENCE, SENTENCES, Stories, StoryBatch
from agents.studies.study import Claim, Outcomes, Readouts, Run
from routing import Regions, Router, Rules, ablate, expand, lora, module, units
from routing.selectors import Part

UNKNOWN, ORDINARY = 0, 1  # labels of the rules; concept k has label 1 + k
FILTERS = ("filter_document", "filter_token")
METHODS = ("no_removal", *FILTERS, "activation", "parameter", "forward_ablated")
METHOD_ARMS = {method: {"method": method} for method in METHODS}
"""The arms of the studies of labels."""
BATCH, TUNING_STORIES, TUNING_BATCH = 16, 64, 16


def new_units(model: Transformer, count: int) -> list[Part]:
    """Adds `count` hidden units to every FeedForward; returns them."""
    return [expand(model, up, count, out=down) for up, down in model.mlps]


def rules(regions: Regions, weight: float = 0.0, ordinary: float = 1.0) -> Rules:
    """The rules of regions `original`, `concept_1`, `concept_2`, ...

    Args:
        regions: of the model.
        weight: with which tokens of a concept train the original region.
        ordinary: with which ordinary tokens train the regions of the concepts.
    """
    concepts = [name for name in regions if name != "original"]
    table = {"ordinary": dict.fromkeys(concepts, ordinary)}
    for name in concepts:
        table[name] = {other: 0.0 for other in concepts if other != name} | {"original": weight}
    return Rules(regions, ("unknown", "ordinary", *concepts), table)


def localised(
    model: Transformer, level: str, count: int, concepts: int = 1, weight: float = 0.0
) -> tuple[Regions, Router | None]:
    """Expands a model; returns its regions and the router of a level.

    Args:
        model: edited in place.
        level: activation, parameter, forward_ablated, columns; adapters, for a low-rank adapter of each concept on the
            MLPs instead of new units (the MLPs themselves stay as initialised, and an adapter of half their width is
            original); or none, without a router.
        count: the number of new units in each FeedForward for each concept; of adapters, four times their rank.
        concepts: the number of concepts.
        weight: with which tokens of a concept train the original parameters.
    """
    names = [f"concept_{1 + k}" for k in range(concepts)]
    if level == "adapters":
        own = [*_layers(model), lora(model, "blocks.*.mlp.*", model.head.in_features // 2, "original")]
        parts: dict[str, list[Part]] = {name: [lora(model, "blocks.*.mlp.*", count // 4, name)] for name in names}
    else:
        parts = {name: new_units(model, count) for name in names}
        old = [units(up, slice(0, model.hidden), out=down) for up, down in model.mlps]
        own = old if level in ("activation", "columns") else original(model)
    regions = Regions(model, {"original": own, **parts})
    if level == "none":
        return regions, None
    table = rules(regions, weight, ordinary=0.0 if level == "forward_ablated" else 1.0)
    if level == "forward_ablated":
        return regions, Router(model, table, "parameter", dict.fromkeys(names, level))
    return regions, Router(model, table, "parameter" if level == "adapters" else level)


def _layers(model: Transformer) -> list[Part]:
    attention = [f"blocks.{i}.attention.{name}" for i in range(len(model.blocks)) for name in ("inputs", "output")]
    return [module(name) for name in ("embedding", "position", "head", *attention)]


class Annotator:
    """Labels tokens of stories, with faults.

    Args:
        generator: of its faults.
        undiscovered: the share of concept stories that are not found and remain unlabelled.
        known: the share of ordinary stories that are labelled as ordinary; the others remain unlabelled.
        wrong: the share of labelled stories whose label is wrong. An ordinary story then counts as one about concept 1,
            in its first sentence and in half of the others.
    """

    def __init__(
        self, generator: torch.Generator, undiscovered: float = 0.0, known: float = 1.0, wrong: float = 0.0
    ) -> None:
        self.generator, self.undiscovered, self.known, self.wrong = generator, undiscovered, known, wrong

    def __call__(self, batch: StoryBatch) -> Tensor:
        """Labels (B, T) of the rules."""
        missed, flipped = (torch.rand(len(batch.story), generator=self.generator) for _ in range(2))
        false = torch.rand(len(batch.story), SENTENCES, generator=self.generator) < 0.5
        false[:, 0] = True
        about = batch.story != RETAIN
        wrong = (flipped < self.wrong)[:, None]
        mistaken = torch.where(about[:, None], 0, false.repeat_interleave(SENTENCE, 1).long())
        labels = ORDINARY + torch.where(wrong, mistaken, batch.token)
        unlabelled = torch.where(about, missed < self.undiscovered, missed >= self.known)
        return torch.where(unlabelled[:, None], UNKNOWN, labels)


def passes(method: str, labels: Tensor) -> Tensor:
    """Weights (B, T) of tokens: 0 for those labelled as a concept and, by document, for all others of their story."""
    flagged = labels > ORDINARY
    if method == "filter_document":
        flagged = flagged.any(1, keepdim=True).expand(-1, LENGTH)
    return (~flagged).float()


def removed(
    run: Run,
    stories: Stories,
    method: str,
    label: Annotator,
    *,
    steps: int,
    batch: int = 8,
    tuning: int = 20,
    new: int = 64,
    rate: float = 5e-3,
) -> Readouts:
    """Trains an expanded model, removes the concept by a method, and fine-tunes on stories labelled as ordinary.

    Args:
        run: of the study; its seed determines the order of the stories.
        stories: the grammar.
        method: a level of `localised`, a filter, or no_removal. With filters and without removal the new units are
            trained as all others and are not ablated.
        label: the annotator.
        steps: the number of training steps.
        batch: the number of stories in each.
        tuning: the number of fine-tuning steps.
        new: the number of new units in each FeedForward.
        rate: the step size; a fifth of it in fine-tuning.

    Returns:
        `forget_loss` and `retain_loss` after removal, in nats per verb or object.
    """
    routes = method not in (*FILTERS, "no_removal")
    model, order = Transformer(len(stories.words)), torch.Generator().manual_seed(run.seed)
    regions, router = localised(model, method if routes else "none", new)
    train(
        model,
        lambda: stories.draw(batch, order),
        steps,
        adamw(model, rate),
        router=router,
        labels=label if routes else None,
        weights=(lambda drawn: passes(method, label(drawn))) if method in FILTERS else None,
        decay=True,
        visit=lambda step: run.progress(step / (steps + tuning)),
    )
    if routes:
        ablate(regions, "concept_1")
    train(model, partial(few, labelled_ordinary(stories, order, label), order), tuning, adamw(model, rate / 5))
    return StoryEvaluation(stories)(model)


def advantage(outcomes: Outcomes, level: float, over: str, arm: str = "forward_ablated") -> float:
    """The forget loss of an arm minus that of another, at a level of the axis."""
    return outcomes[arm, level]["forget_loss"] - outcomes[over, level]["forget_loss"]


def leaks_less(when: str, level: float, than: str, arm: str = "forward_ablated") -> Claim:
    """The claim that less of the concept remains after one method than after another, at a level of the axis."""
    named = than.replace("filter_", "filtering by ")
    return Claim(f"{when}: {arm} leaks less than {named}", lambda seed: advantage(seed, level, than, arm), at_least=0.0)


def annotator(seed: int, **faults: float) -> Annotator:
    """An annotator whose faults are drawn apart from the stories."""
    return Annotator(torch.Generator().manual_seed(10**5 + seed), **faults)


def labelled_ordinary(stories: Stories, generator: torch.Generator, label: Annotator) -> StoryBatch:
    """At most 64 stories without a token that is labelled as a concept or unlabelled."""
    batch = stories.draw(8 * TUNING_STORIES, generator)
    chosen = (label(batch) == ORDINARY).all(1).nonzero().squeeze(1)[:TUNING_STORIES]
    return StoryBatch(*(tensor[chosen] for tensor in batch))


def few(batch: StoryBatch, generator: torch.Generator) -> StoryBatch:
    """Some of the stories, drawn with replacement."""
    chosen = torch.randint(len(batch.story), (TUNING_BATCH,), generator=generator)
    return StoryBatch(*(tensor[chosen] for tensor in batch))
