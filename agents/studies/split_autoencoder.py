"""Routing splits the code of an autoencoder: digits 0 to 4 in the top half, 5 to 9 in the bottom half.

Set-up of Cloud et al. 2024 (arXiv 2410.04332, section 4.1): a perceptron encodes the image of a digit into a code
without output bias, and a mirrored one reconstructs it. Loss: mean absolute error of pixels in [-1, 1], L1 of weight
3e-3 on each half of the code, and weight 0.1 on the correlation of the halves. Adam with step size 1e-3 and weight
decay 5e-5.

Certificates are decoders that read one half of the frozen code. The read-out of a half is the ratio of its
certificate's error on the digits of the other half to that on its own digits: 1 if the half holds both alike.

Smaller here: 1 438 training images of 8 x 8 pixels instead of 60 000 of 28 x 28, layers of 256 and 128 units instead
of 2048 and 512. Certificates are trained after the autoencoder instead of with it. With dataset="mnist", 4 000 images
of 28 x 28 are used; they need several times as many CPU seconds until the error stops falling.

Read-outs are in units of a pixel's range [-1, 1]:

- reconstruction_error: mean absolute error of the autoencoder on validation images
- top_own_error, top_other_error, bottom_own_error, bottom_other_error: of the certificates
- top_ratio, bottom_ratio: error on the other digits / error on the own digits
"""

import torch
from torch import Tensor

from agents.studies import data, splits
from agents.studies.splits import HALVES, Penalties, SplitCode
from agents.studies.study import Claim, Panel, Run, study
from agents.studies.training import perceptron

HIDDEN = (256, 128)


def autoencoder(pixels: int, width: int) -> SplitCode:
    """Build an autoencoder of images of so many pixels, with a code of `width` units."""
    return SplitCode(perceptron((pixels, *HIDDEN, width), last_bias=False), image_decoder(width, pixels))


def image_decoder(width: int, pixels: int) -> torch.nn.Module:
    """Build a decoder from a code, or half of one, of `width` units to the pixels of an image."""
    return perceptron((width, *HIDDEN[::-1], pixels))


def absolute_error(outputs: Tensor, targets: Tensor) -> Tensor:
    """Compute the mean absolute error of each example: (B, F), (B, F) -> (B,)."""
    return (outputs - targets).abs().mean(1)


@study(
    question="Does routing digits 0 to 4 through one half of a code and 5 to 9 through the other split the code?",
    reference="ratio 1.71, 1.74 (independent reproduction of arXiv 2410.04332, L1 only); 2.19, 2.10 (our prototype)",
    arms={
        **splits.ARMS,
        "labels_20": {"routed": True, "regularised": True, "labelled": 0.2},
    },
    quick={"steps": 1000, "certificate_steps": 500},
    full={"steps": 4000, "certificate_steps": 2000},
    claims=(
        Claim(
            "routed and regularised: ratio of certificate errors, other / own digits, at least 1.5 in the top half",
            lambda seed: seed["routed_regularised"]["top_ratio"],
            at_least=1.5,
        ),
        Claim(
            "routed and regularised: ratio at least 1.5 in the bottom half",
            lambda seed: seed["routed_regularised"]["bottom_ratio"],
            at_least=1.5,
        ),
        Claim(
            "unrouted, regularised or not: ratio at most 1.3 in both halves",
            lambda seed: max(
                seed[arm][f"{half}_ratio"] for arm in ("unrouted_regularised", "unrouted") for half in HALVES
            ),
            at_most=1.3,
        ),
    ),
    panels=(
        Panel("top_ratio", "top half: error on 5-9 / on 0-4"),
        Panel("bottom_ratio", "bottom half: error on 0-4 / on 5-9"),
        Panel("reconstruction_error", "validation error (pixels in [-1, 1])"),
        Panel("training_loss", "training loss", over="steps"),
    ),
    stand_in="the digits of scikit-learn, of 8 x 8 pixels, and a smaller network",
)
def split_autoencoder(
    run: Run,
    *,
    routed: bool,
    regularised: bool,
    steps: int,
    certificate_steps: int,
    labelled: float = 1.0,
    width: int = 32,
    images: int | None = None,
    dataset: str = "digits",
) -> dict[str, float]:
    """Train one autoencoder and the certificates of its halves.

    Args:
        run: the run.
        routed: whether gradients are routed by digit.
        regularised: whether the penalties act on the code.
        steps: updates of the autoencoder.
        certificate_steps: updates of each certificate.
        labelled: the share of images with a label; those without train both halves.
        width: units of the code, both halves together.
        images: the number of training images; None: all but the validation images, a fifth.
        dataset: "digits" or "mnist".
    """
    pixels, digits = data.DATASETS[dataset]()
    train, validation = data.train_and_validation(len(pixels), len(pixels) // 5, run.seed)
    train = train[:images]
    groups = (digits >= 5).long()
    labels = splits.group_labels(groups[train], labelled, run.seed) if routed else None
    x, x_validation = pixels[train], pixels[validation]
    model = autoencoder(x.shape[1], width)
    splits.train_split(run, model, x, x, absolute_error, labels, Penalties() if regularised else None, steps=steps)
    certificates = splits.certify_halves(
        run, model, lambda: image_decoder(width // 2, x.shape[1]), x, x, absolute_error, steps=certificate_steps
    )
    with torch.no_grad():
        readouts = {"reconstruction_error": float(absolute_error(model(x_validation)[0], x_validation).mean())}
    for half, own in HALVES.items():
        errors = absolute_error(certificates[half](x_validation), x_validation)
        readouts |= half_readouts(half, errors, groups[validation] == own)
    return readouts


def half_readouts(half: str, errors: Tensor, own: Tensor) -> dict[str, float]:
    """Summarise the errors (B,) of a half's certificate; `own` (B,) is whether an example is routed to the half."""
    mine, other = float(errors[own].mean()), float(errors[~own].mean())
    return {f"{half}_own_error": mine, f"{half}_other_error": other, f"{half}_ratio": other / mine}
