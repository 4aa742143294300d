"""The share of stories about the concept: does removal depend on how frequent the concept is?

One story in a hundred to one in two is about the concept, and a fifth of these stories is not discovered; half of the
ordinary stories are labelled as ordinary (the labels of `partial_labels`, arXiv 2512.05648). A frequent concept gives
the ablated units more to learn from, and leaves more undiscovered stories to every method.

Read-outs after removal and 20 steps of fine-tuning on ordinary stories: `forget_loss`, nats per verb or object in
sentences about the concept, and `retain_loss`, the same in ordinary stories. A rare concept has a large forget loss
without removal too, so that arm is the line to compare with.
"""

from agents.studies.partial_labels import KNOWN
from agents.studies.removal import METHOD_ARMS, annotator, leaks_less, removed
from agents.studies.stories import Stories
from agents.studies.study import Panel, Readouts, Run, study

UNDISCOVERED = 0.2


@study(
    question="Does removal depend on how frequent the concept is?",
    reference="masks on parameters leak less than activation masks and filtering (arXiv 2512.05648)",
    stand_in="TinyStories in two languages is replaced by a grammar with one concept",
    arms=METHOD_ARMS,
    axis="share",
    quick={"share": (0.1, 0.5), "steps": 200, "subjects": 12, "choices": 2},
    full={"share": (0.01, 0.05, 0.1, 0.2, 0.5), "steps": 200, "subjects": 12, "choices": 2},
    claims=(
        leaks_less("half of the stories", 0.5, "filter_token"),
        leaks_less("half of the stories", 0.5, "activation"),
        leaks_less("a tenth of the stories", 0.1, "filter_token"),
    ),
    panels=(
        Panel("forget_loss", "forget loss after removal (nats)", "axis", horizontal="share of concept stories"),
        Panel("retain_loss", "retain loss after removal (nats)", "axis", horizontal="share of concept stories"),
    ),
)
def forget_share(run: Run, *, method: str, share: float, steps: int, subjects: int, choices: int) -> Readouts:
    stories = Stories(run.seed, share=share, subjects=subjects, choices=choices)
    label = annotator(run.seed, undiscovered=UNDISCOVERED, known=KNOWN)
    return removed(run, stories, method, label, steps=steps)
