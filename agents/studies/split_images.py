"""The split of `split_autoencoder` against the number of training images.

Routing by digit is supervision, and images of the other half's digits are negative examples. With few images the
encoder may memorise them. The number of updates is the same at every level, and validation
images are those that no level trains on. The penalties are on in both arms, and the control differs in routing only.

Read-outs are those of `split_capacity`.
"""

from agents.studies.split_autoencoder import split_autoencoder
from agents.studies.split_capacity import with_smaller_ratio
from agents.studies.study import Claim, Panel, Run, study

IMAGES = (100, 400, 1400)


@study(
    question="Does the number of training images decide whether routing splits the code?",
    reference="ratio 1.71 top, 1.74 bottom with 60 000 images (an independent reproduction of arXiv 2410.04332)",
    arms={"routed": {"routed": True}, "unrouted": {"routed": False}},
    quick={"images": IMAGES, "steps": 1000, "certificate_steps": 500},
    full={"images": IMAGES, "steps": 3000, "certificate_steps": 1500},
    axis="images",
    claims=(
        Claim(
            "the split grows with images: the routed ratio at the most images is above that at the fewest",
            lambda seed: seed["routed", IMAGES[-1]]["smaller_ratio"] - seed["routed", IMAGES[0]]["smaller_ratio"],
            at_least=0.0,
        ),
    ),
    panels=(
        Panel("smaller_ratio", "error on other / own digits, smaller of both halves", over="axis"),
        Panel("reconstruction_error", "validation error (pixels in [-1, 1])", over="axis"),
    ),
    stand_in="the digits of scikit-learn, of 8 x 8 pixels, and a smaller network",
)
def split_images(run: Run, *, routed: bool, images: int, steps: int, certificate_steps: int) -> dict[str, float]:
    """Train one autoencoder on `images` images; see `split_autoencoder` for the other arguments."""
    budget = {"steps": steps, "certificate_steps": certificate_steps}
    return with_smaller_ratio(
        dict(split_autoencoder.measure(run, routed=routed, regularised=True, images=images, **budget))
    )
