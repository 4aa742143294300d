"""Routing splits the code of a classifier: digits 0 to 4 in the top half, 5 to 9 in the bottom half.

Cloud et al. 2024 (arXiv 2410.04332, appendix) split a ResNet-34 on CIFAR-100 at its 14th block. Here a perceptron
classifies MNIST: the split of `split_autoencoder`, with cross-entropy of the ten digits in place of the reconstruction
error, and the authors' L1 weight for classifiers, 3e-2. A certificate is a classifier that reads one half of the
frozen code. No threshold is taken over from CIFAR: the claims compare with the controls without routing.

Read-outs are on 1 000 validation images:

- accuracy: share of digits that the classifier recognises
- top_own_accuracy, top_other_accuracy, bottom_own_accuracy, bottom_other_accuracy: of the certificates, on the half's
  own digits and on the others
- top_gap, bottom_gap: accuracy on the own digits - accuracy on the others
"""

import torch
from torch.nn import functional

from agents.studies import data, splits
from agents.studies.splits import HALVES, Penalties, SplitCode
from agents.studies.study import Claim, Outcomes, Panel, Run, study
from agents.studies.training import perceptron

WIDTH, PENALTIES = 32, Penalties(l1=3e-2)


def cross_entropy(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Compute the cross-entropy of each example: (B, classes), (B,) -> (B,) nats."""
    return functional.cross_entropy(outputs, targets, reduction="none")


def _smaller_gain(seed: Outcomes, arm: str, control: str) -> float:
    """How much larger the gap of an arm is than that of its control, in the half where this is least."""
    return min(seed[arm][f"{half}_gap"] - seed[control][f"{half}_gap"] for half in HALVES)


@study(
    question="Does routing digits 0 to 4 through half of a classifier's code and 5 to 9 through the other split it?",
    reference="",
    arms=splits.ARMS,
    quick={"steps": 400, "certificate_steps": 300},
    full={"steps": 1500, "certificate_steps": 1500},
    claims=(
        Claim(
            "regularised: routing widens the certificates' accuracy gap, own - other digits, in both halves",
            lambda seed: _smaller_gain(seed, "routed_regularised", "unrouted_regularised"),
            at_least=0.0,
        ),
        Claim(
            "routed: regularisation widens the gap in both halves",
            lambda seed: _smaller_gain(seed, "routed_regularised", "routed"),
            at_least=0.0,
        ),
    ),
    panels=(
        Panel("top_gap", "top half: accuracy on 0-4 minus on 5-9"),
        Panel("bottom_gap", "bottom half: accuracy on 5-9 minus on 0-4"),
        Panel("accuracy", "validation accuracy"),
        Panel("training_loss", "training loss (nats)", over="steps"),
    ),
    stand_in="MNIST and a perceptron in place of CIFAR-100 and a ResNet-34; no threshold is taken over",
)
def split_classifier(
    run: Run, *, routed: bool, regularised: bool, steps: int, certificate_steps: int
) -> dict[str, float]:
    """Train one classifier and the certificates of its halves.

    Args:
        run: the run.
        routed: whether gradients are routed by digit.
        regularised: whether the penalties act on the code.
        steps: updates of the classifier.
        certificate_steps: updates of each certificate.
    """
    pixels, digits = data.mnist()
    train, validation = data.train_and_validation(len(pixels), 1000, run.seed)
    groups = (digits >= 5).long()
    model = SplitCode(perceptron((784, 256, 128, WIDTH), last_bias=False), perceptron((WIDTH, 128, 10)))
    x, classes, loss = pixels[train], digits[train], cross_entropy
    splits.train_split(
        run, model, x, classes, loss, groups[train] if routed else None, PENALTIES if regularised else None, steps=steps
    )
    certificates = splits.certify_halves(
        run, model, lambda: perceptron((WIDTH // 2, 128, 10)), x, classes, loss, steps=certificate_steps
    )
    with torch.no_grad():
        right = model(pixels[validation])[0].argmax(1) == digits[validation]
    readouts = {"accuracy": float(right.float().mean())}
    for half, place in HALVES.items():
        right, own = certificates[half](pixels[validation]).argmax(1) == digits[validation], groups[validation] == place
        mine, other = float(right[own].float().mean()), float(right[~own].float().mean())
        readouts |= {f"{half}_own_accuracy": mine, f"{half}_other_accuracy": other, f"{half}_gap": mine - other}
    return readouts
