"""Wrong labels: how much of a concept remains, and how much else is lost, if an annotator errs.

The label of every story is wrong with equal probability. A concept story then counts as ordinary, and an ordinary story
as one about the concept, in its first sentence and in half of the others. Since five stories in six are ordinary, most
tokens labelled as the concept are not, above 17 % of wrong labels. Shilov et al. 2025 (arXiv 2512.05648) report that
masks on parameters tolerate label noise better than masks on activations and filtering do.

Read-outs after removal and 20 steps of fine-tuning on stories labelled as ordinary, some of which are not:
`forget_loss`, nats per verb or object in sentences about the concept, and `retain_loss`, the same in ordinary stories.
"""

from agents.studies.removal import METHOD_ARMS, annotator, leaks_less, removed
from agents.studies.stories import Stories
from agents.studies.study import Panel, Readouts, Run, study

LEVEL, WHEN = 0.2, "20 % wrong"  # of the claims


@study(
    question="How much of a concept remains after its removal if labels are wrong?",
    reference="SGTM is more robust to label noise than activation masks and filtering (arXiv 2512.05648)",
    stand_in="TinyStories in two languages is replaced by a grammar with one concept",
    arms=METHOD_ARMS,
    axis="wrong",
    quick={"wrong": (0.0, 0.2), "steps": 200, "subjects": 12, "choices": 2},
    full={"wrong": (0.0, 0.05, 0.1, 0.2, 0.4), "steps": 200, "subjects": 12, "choices": 2},
    claims=(
        leaks_less(WHEN, LEVEL, "activation", arm="parameter"),
        leaks_less(WHEN, LEVEL, "activation"),
        leaks_less(WHEN, LEVEL, "filter_document"),
        leaks_less(WHEN, LEVEL, "filter_token"),
    ),
    panels=(
        Panel("forget_loss", "forget loss after removal (nats)", "axis", horizontal="share of wrong labels"),
        Panel("retain_loss", "retain loss after removal (nats)", "axis", horizontal="share of wrong labels"),
    ),
)
def wrong_labels(run: Run, *, method: str, wrong: float, steps: int, subjects: int, choices: int) -> Readouts:
    stories = Stories(run.seed, subjects=subjects, choices=choices)
    return removed(run, stories, method, annotator(run.seed, wrong=wrong), steps=steps)
