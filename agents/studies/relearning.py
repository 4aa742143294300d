"""Relearning: how many updates on concept stories restore a concept that was removed?

What was never learned must be learned; what is only suppressed comes back after a few updates. Shilov et al. 2025
(arXiv 2512.05648, SGTM) report about 350 updates after routing and 50 after RMU, that is 7 times as many. Every method
of `removed_models` removes the concept, then the model is fine-tuned on stories about the concept only. Smaller here:
a grammar instead of natural text, models of 0.1 M parameters, and perfect token labels. The bound of the claim about
SGTM is therefore a ratio of 2, and 7 is the published one.

The removed loss is the forget loss after removal minus that before. A routed model is compared with itself before its
ablation, since new units learn the concept more slowly than the whole model does; a model that was edited afterwards
with itself before; filtering and distillation with the model that was trained on everything. A removed model may be
confidently wrong, with a forget loss far above the log of the number of words (4.2 nats for a guess among verbs and
objects). Half of such a loss is regained by becoming less confident, without any knowledge of the concept.
`updates_to_level` is therefore reported too: the level is 1 nat for all arms.

Read-outs: `forget_before`, `forget_after`, `forget_removed` (after minus before) and `forget_relearned` (at the end),
`retain_before` and `retain_after`, in nats per verb or object; `updates_to_half`, at most the number of updates that
were done, and nan if nothing was removed; `updates_to_level`, with the same limit.
"""

import math
from collections.abc import Sequence

import numpy as np
import torch

from agents.studies.language_model import StoryEvaluation, Transformer, adamw, train
from agents.studies.removal import BATCH
from agents.studies.removed_models import RATE, without_concept
from agents.studies.stories import Stories
from agents.studies.study import Claim, Outcomes, Panel, Readouts, Run, study

Curve = Sequence[tuple[int, float]]
"""(updates, forget loss), in the order of the updates; the first has 0 updates."""
LEVEL = 1.0  # nats
POINTS = 25  # of the curve
METHODS = (
    "no_removal", "activation", "parameter", "forward_ablated", "filter_document",
    "rmu", "gradient_ascent", "ssd", "ssd_few", "distilled",
)  # fmt: skip


def updates_to_half(curve: Curve, before: float, after: float) -> float:
    """Updates until half of the removed loss is regained, interpolated linearly between points.

    Args:
        curve: the forget loss while relearning.
        before: the loss before removal.
        after: the loss after removal.

    Returns:
        The number of updates; inf if the curve never falls so far, nan if the loss after removal is not above that
        before.
    """
    return updates_to(curve, (before + after) / 2) if after > before else math.nan


def updates_to(curve: Curve, level: float) -> float:
    """Updates until the loss is at most a level, interpolated linearly between points; inf if it never is."""
    previous: tuple[float, float] | None = None
    for updates, loss in curve:
        if loss <= level:
            if previous is None:
                return float(updates)
            start, high = previous
            return start + (updates - start) * (high - level) / (high - loss)
        previous = updates, loss
    return math.inf


def relearning_curve(
    run: Run, model: Transformer, stories: Stories, updates: int, rate: float = RATE / 5
) -> list[tuple[int, float]]:
    """Fine-tunes a model on concept stories; returns and records its forget loss after 0, 1, 2, ... updates."""
    evaluation, order = StoryEvaluation(stories, count=32), torch.Generator().manual_seed(2 * 10**4 + run.seed)
    points = {0, *np.geomspace(1, updates, POINTS).round().astype(int).tolist()}
    curve: list[tuple[int, float]] = []

    def visit(step: int) -> None:
        if step in points:
            losses = evaluation(model)
            curve.append((step, losses["forget_loss"]))
            run.record(step, losses)
            run.progress(0.7 + 0.3 * step / updates)

    train(model, lambda: stories.draw(BATCH, order, kind=1), updates, adamw(model, rate), visit=visit)
    return curve


def multiple(outcomes: Outcomes, readout: str, arm: str, of: str) -> float:
    """A read-out of an arm divided by that of another."""
    return outcomes[arm][readout] / outcomes[of][readout]


@study(
    question="Which removed concepts come back soonest if the model is fine-tuned on the concept?",
    reference="350 updates after SGTM, 50 after RMU (arXiv 2512.05648)",
    stand_in="natural text is replaced by a grammar, and the language model by one of 0.1 M parameters",
    arms={method: {"method": method} for method in METHODS},
    quick={"steps": 200, "updates": 60, "subjects": 12, "choices": 2},
    full={"steps": 200, "updates": 60, "subjects": 12, "choices": 2},
    claims=(
        Claim(
            "forward_ablated (SGTM): at least 2 times as many updates to half as RMU",
            lambda seed: multiple(seed, "updates_to_half", "forward_ablated", "rmu"),
            at_least=2.0,
        ),
        Claim(
            "forward_ablated (SGTM): at least 2 times as many updates to 1 nat as RMU",
            lambda seed: multiple(seed, "updates_to_level", "forward_ablated", "rmu"),
            at_least=2.0,
        ),
        Claim(
            "RMU is undone faster than filtering: updates to half, filtering / RMU",
            lambda seed: multiple(seed, "updates_to_half", "filter_document", "rmu"),
            at_least=1.0,
        ),
        Claim(
            "gradient ascent is undone faster than filtering: updates to half, filtering / gradient ascent",
            lambda seed: multiple(seed, "updates_to_half", "filter_document", "gradient_ascent"),
            at_least=1.0,
        ),
        Claim(
            "SSD is undone faster than filtering: updates to half, filtering / SSD",
            lambda seed: multiple(seed, "updates_to_half", "filter_document", "ssd"),
            at_least=1.0,
        ),
        Claim(
            "SSD with a tenth of the concept stories removes at least half as much as with all",
            lambda seed: multiple(seed, "forget_removed", "ssd_few", "ssd"),
            at_least=0.5,
        ),
        Claim(
            "SSD with a tenth of the concept stories raises the retain loss by at most 0.1 nats",
            lambda seed: seed["ssd_few"]["retain_after"] - seed["ssd_few"]["retain_before"],
            at_most=0.1,
        ),
        Claim(
            "distillation after ablation takes at least as many updates to half as ablation alone",
            lambda seed: multiple(seed, "updates_to_half", "distilled", "activation"),
            at_least=1.0,
        ),
    ),
    panels=(
        Panel("forget_loss", "forget loss while relearning (nats)", "steps", horizontal="updates on concept stories"),
        Panel("updates_to_half", "updates until half of the removed loss is regained", log=True),
        Panel("updates_to_level", "updates until the forget loss is 1 nat"),
        Panel("forget_removed", "removed forget loss (nats)"),
    ),
)
def relearning(run: Run, *, method: str, steps: int, updates: int, subjects: int, choices: int) -> Readouts:
    stories = Stories(run.seed, subjects=subjects, choices=choices)
    model, before, after = without_concept(run, stories, method, steps)
    curve = relearning_curve(run, model, stories, updates)
    forgets = before["forget_loss"], after["forget_loss"]
    return {
        "forget_before": forgets[0],
        "forget_after": forgets[1],
        "forget_removed": forgets[1] - forgets[0],
        "forget_relearned": curve[-1][1],
        "retain_before": before["retain_loss"],
        "retain_after": after["retain_loss"],
        "updates_to_half": min(updates_to_half(curve, *forgets), updates),
        "updates_to_level": min(updates_to(curve, LEVEL), updates),
    }
