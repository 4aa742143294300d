"""Concept stories that an annotator did not find: how much of the concept remains after its removal.

SGTM (Shilov et al. 2025, arXiv 2512.05648) varies the share of the concept's data that is not discovered and therefore
trained on as unlabelled. A filter passes it, so the concept is learned from it. With routing it also trains the units
that are ablated, which already predict the concept from the discovered stories. Half of the ordinary stories are
labelled as ordinary, the others are unlabelled. Labels of discovered stories are exact for every token, and filters
remove the whole document or only the tokens of sentences about the concept (arXiv 2601.21571).

Read-outs after removal and 20 steps of fine-tuning on ordinary stories: `forget_loss`, nats per verb or object in
sentences about the concept, the lower the more has leaked, and `retain_loss`, the same in ordinary stories.
"""

from agents.studies.removal import METHOD_ARMS, annotator, leaks_less, removed
from agents.studies.stories import Stories
from agents.studies.study import Claim, Panel, Readouts, Run, study

KNOWN = 0.5  # share of ordinary stories that are labelled
LEVEL, WHEN = 0.2, "20 % undiscovered"  # of the claims


@study(
    question="How much of a concept remains after its removal if some of its stories were not discovered?",
    reference="at equal undiscovered shares SGTM leaks less than filtering (arXiv 2512.05648)",
    stand_in="TinyStories in two languages is replaced by a grammar with one concept",
    arms=METHOD_ARMS,
    axis="undiscovered",
    quick={"undiscovered": (0.0, 0.2, 0.5), "steps": 200, "subjects": 12, "choices": 2},
    full={
        "undiscovered": (0.0, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0),
        "steps": 200,
        "subjects": 12,
        "choices": 2,
    },
    claims=(
        leaks_less(WHEN, LEVEL, "activation", arm="parameter"),
        leaks_less(WHEN, LEVEL, "activation"),
        leaks_less(WHEN, LEVEL, "filter_document"),
        leaks_less(WHEN, LEVEL, "filter_token"),
        Claim(
            f"{WHEN}: forward_ablated, retain loss at most 0.05 nats above that without removal",
            lambda seed: seed["forward_ablated", LEVEL]["retain_loss"] - seed["no_removal", LEVEL]["retain_loss"],
            at_most=0.05,
        ),
    ),
    panels=(
        Panel("forget_loss", "forget loss after removal (nats)", "axis", horizontal="undiscovered share"),
        Panel("retain_loss", "retain loss after removal (nats)", "axis", horizontal="undiscovered share"),
    ),
)
def partial_labels(run: Run, *, method: str, undiscovered: float, steps: int, subjects: int, choices: int) -> Readouts:
    stories = Stories(run.seed, subjects=subjects, choices=choices)
    label = annotator(run.seed, undiscovered=undiscovered, known=KNOWN)
    return removed(run, stories, method, label, steps=steps)
