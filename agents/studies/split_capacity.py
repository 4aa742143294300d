"""The split of `split_autoencoder` against the width of its code.

Cloud et al. 2024 (arXiv 2410.04332, section 4.1) use a code of 32 units for all ten digits. A narrow code has no room
for what a half does not need, so it may split without routing; a wide one may hold everything twice. The penalties are
on in both arms, and the control differs in routing only.

Read-outs are those of `split_autoencoder`, and smaller_ratio, the smaller one of its two ratios.
"""

from agents.studies.split_autoencoder import split_autoencoder
from agents.studies.study import Claim, Panel, Run, study

WIDTHS = (8, 32, 128)


def with_smaller_ratio(readouts: dict[str, float]) -> dict[str, float]:
    """Add the ratio of the half that is split less to the read-outs of `split_autoencoder`."""
    return readouts | {"smaller_ratio": min(readouts["top_ratio"], readouts["bottom_ratio"])}


@study(
    question="Does the width of the code decide whether routing splits it?",
    reference="ratio 1.71 top, 1.74 bottom at width 32 (an independent reproduction of arXiv 2410.04332)",
    arms={"routed": {"routed": True}, "unrouted": {"routed": False}},
    quick={"width": WIDTHS, "steps": 1000, "certificate_steps": 500},
    full={"width": WIDTHS, "steps": 3000, "certificate_steps": 1500},
    axis="width",
    claims=(
        Claim(
            "routed: ratio of certificate errors, other / own digits, at least 1.5 in both halves at every width",
            lambda seed: min(seed["routed", width]["smaller_ratio"] for width in WIDTHS),
            at_least=1.5,
        ),
        Claim(
            "unrouted: ratio at most 1.3 in one half or the other at every width",
            lambda seed: max(seed["unrouted", width]["smaller_ratio"] for width in WIDTHS),
            at_most=1.3,
        ),
    ),
    panels=(
        Panel("smaller_ratio", "error on other / own digits, smaller of both halves", over="axis", horizontal="width"),
        Panel("reconstruction_error", "validation error (pixels in [-1, 1])", over="axis", horizontal="width"),
    ),
    stand_in="the digits of scikit-learn, of 8 x 8 pixels, and a smaller network",
)
def split_capacity(run: Run, *, routed: bool, width: int, steps: int, certificate_steps: int) -> dict[str, float]:
    """Train one autoencoder whose code has `width` units; see `split_autoencoder` for the other arguments."""
    budget = {"steps": steps, "certificate_steps": certificate_steps}
    return with_smaller_ratio(
        dict(split_autoencoder.measure(run, routed=routed, regularised=True, width=width, **budget))
    )
