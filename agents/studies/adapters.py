"""Low-rank adaptation is a special case of routing, and routed adapters can be removed one at a time.

Hu et al. 2021 (arXiv 2106.09685) freeze a network W0 and train B A in W0 + B A. As routing, that is a rule: every
label trains the base with weight 0. The study checks that the base then moves by exactly 0 under Adam, and that the
adapters are bit for bit those of a base without gradients.

A base network is trained on digits 0 to 4. Two adapters for each of its layers then learn all ten digits: `keep` for
the public digits 0 to 6 and `forget` for the private digits 7 to 9. Half of the images have a label. Routed, labelled
public images train `keep` only, and `forget` outputs 0 for them; labelled private images train `forget` only; images
without label train both. Then `forget` is removed.

Controls: the same two adapters without routing; labels shuffled among the labelled images (a placebo); and one adapter
of twice the rank, which is plain low-rank adaptation with as many parameters, and is removed as a whole.

Read-outs are on 359 validation images:

- public_before, private_before, public_after, private_after: accuracy before and after the removal
- public_drop, private_drop: before - after
- base_moved: largest change of a number of the base network
- frozen_difference: largest difference from the adapters that are trained on a base with requires_grad=False
"""

import copy

import torch
from torch import Tensor, nn

from agents.studies import data
from agents.studies.split_classifier import cross_entropy
from agents.studies.study import Claim, Panel, Run, study
from agents.studies.training import minimise, perceptron
from routing import Regions, Router, Rules, lora, moved, params, set_scale, snapshot

LABELS = ("unknown", "public", "private")
UNKNOWN, PUBLIC, PRIVATE = range(3)
RATE = 5e-3
"""Adam's step size for adapters; with 1e-3 they do not converge in the steps of the quick preset."""
KNOWN_DIGITS, PUBLIC_DIGITS = 5, 7
"""The base knows digits below 5; those below 7 are public."""


def adapted(network: nn.Module, rank: int, single: bool, ruled: bool) -> Regions:
    """Add adapters to every linear layer of a network.

    Args:
        network: is edited in place.
        rank: of each adapter.
        single: whether there is one adapter of twice the rank, `forget`, in place of `keep` and `forget`.
        ruled: whether the network's own parameters keep their gradients and become the region `base`, for the rules to
            freeze; otherwise they have no gradients and are in no region.
    """
    ranks = {"forget": 2 * rank} if single else {"keep": rank, "forget": rank}
    parts = {name: lora(network, "*", ranks[name], name) for name in ranks}
    if not ruled:
        return Regions(network, parts)
    regions = Regions(network, {**parts, "base": params("*.base.*")})
    for piece in regions["base"].pieces:
        piece.parameter.requires_grad_(True)
    return regions


def adapter_router(regions: Regions, routed: bool) -> Router:
    """Freeze the base for every label; if routed, train `keep` on public and `forget` on private examples only."""
    weights = {label: {"base": 0.0} if "base" in regions else {} for label in LABELS}
    if routed:
        weights["public"]["forget"] = weights["private"]["keep"] = 0.0
    return Router(regions.model, Rules(regions, LABELS, weights), "parameter", {"forget": "forward_ablated"})


def train_adapters(
    run: Run, regions: Regions, routed: bool, images: Tensor, digits: Tensor, labels: Tensor, steps: int
) -> None:
    """Train the adapters on images (N, F) with labels (N,), and the base if it has gradients that the rules pass."""
    router = adapter_router(regions, routed)

    def loss(indices: Tensor) -> Tensor:
        with router(labels[indices]):
            return cross_entropy(regions.model(images[indices]), digits[indices]).mean()

    trained = [parameter for parameter in regions.model.parameters() if parameter.requires_grad]
    minimise(loss, trained, len(images), steps=steps, seed=run.seed, rate=RATE)


def label_of(digits: Tensor, share: float, shuffled: bool, seed: int) -> Tensor:
    """Label a share of the images as public or private.

    Args:
        digits: (N,).
        share: the probability of a label.
        shuffled: whether the labels are shuffled among the labelled images.
        seed: of the draws.

    Returns:
        (N,) indices into LABELS.
    """
    generator = torch.Generator().manual_seed(seed)
    (known,) = torch.where(torch.rand(len(digits), generator=generator) < share)
    order = torch.randperm(len(known), generator=generator) if shuffled else torch.arange(len(known))
    labels = torch.full_like(digits, UNKNOWN)
    labels[known] = torch.where(digits[known[order]] < PUBLIC_DIGITS, PUBLIC, PRIVATE)
    return labels


def _accuracies(model: nn.Module, images: Tensor, digits: Tensor, when: str) -> dict[str, float]:
    with torch.no_grad():
        right = (model(images).argmax(1) == digits).float()
    public = digits < PUBLIC_DIGITS
    return {f"public_{when}": float(right[public].mean()), f"private_{when}": float(right[~public].mean())}


@study(
    question="Is low-rank adaptation a special case of routing, and can a routed adapter be removed alone?",
    reference="a base under an adapter moves by exactly 0 (arXiv 2106.09685)",
    arms={
        "routed": {"routed": True},
        "unrouted": {"routed": False},
        "shuffled_labels": {"routed": True, "shuffled": True},
        "single_adapter": {"routed": False, "single": True},
    },
    quick={"steps": 300},
    full={"steps": 1000},
    claims=(
        Claim(
            "a base that the rules freeze moves by exactly 0, in every arm",
            lambda seed: max(readouts["base_moved"] for readouts in seed.values()),
            at_most=0.0,
        ),
        Claim(
            "its adapters are bit for bit those on a base without gradients, in every arm",
            lambda seed: max(readouts["frozen_difference"] for readouts in seed.values()),
            at_most=0.0,
        ),
        Claim(
            "removing `forget` costs at least 0.2 more private accuracy routed than unrouted",
            lambda seed: seed["routed"]["private_drop"] - seed["unrouted"]["private_drop"],
            at_least=0.2,
        ),
        Claim(
            "routed: removing `forget` costs at most 0.05 of the public accuracy",
            lambda seed: seed["routed"]["public_drop"],
            at_most=0.05,
        ),
    ),
    panels=(
        Panel("private_after", "accuracy on private digits after the removal"),
        Panel("public_after", "accuracy on public digits after the removal"),
    ),
    stand_in="a perceptron on the digits of scikit-learn in place of a language model",
)
def adapters(
    run: Run,
    *,
    routed: bool,
    steps: int,
    shuffled: bool = False,
    single: bool = False,
    rank: int = 8,
    labelled: float = 0.5,
) -> dict[str, float]:
    """Train a base network, then its adapters twice: on a base that the rules freeze, and on one without gradients.

    Args:
        run: the run.
        routed: whether adapters are trained by label.
        steps: updates of the base, and of the adapters.
        shuffled: whether labels are shuffled among the labelled images.
        single: whether there is one adapter of twice the rank.
        rank: of each adapter.
        labelled: the probability with which an image has a label.
    """
    images, digits = data.digits()
    train, validation = data.train_and_validation(len(images), len(images) // 5, run.seed)
    labels = label_of(digits[train], labelled, shuffled, run.seed)
    base = perceptron((images.shape[1], 64, 64, 10))
    known = train[digits[train] < KNOWN_DIGITS]
    minimise(
        lambda i: cross_entropy(base(images[known[i]]), digits[known[i]]).mean(), base.parameters(), len(known),
        steps=steps, seed=run.seed,
    )  # fmt: skip
    networks = []
    for ruled in (True, False):
        torch.manual_seed(run.seed)  # gives both networks the same initial adapters
        networks.append(adapted(copy.deepcopy(base), rank, single, ruled))
    start = snapshot(networks[0])
    for done, regions in enumerate(networks, 1):
        train_adapters(run, regions, routed, images[train], digits[train], labels, steps)
        run.progress(done / 2)
    ends = [snapshot(regions) for regions in networks]
    model = networks[0].model
    readouts = {
        "base_moved": moved(start, ends[0])["base"],
        "frozen_difference": max(float((ends[0][name] - ends[1][name]).abs().max()) for name in networks[1]),
        **_accuracies(model, images[validation], digits[validation], "before"),
    }
    set_scale(model, "forget", 0.0)
    readouts |= _accuracies(model, images[validation], digits[validation], "after")
    for kind in ("public", "private"):
        readouts[f"{kind}_drop"] = readouts[f"{kind}_before"] - readouts[f"{kind}_after"]
    return readouts
