"""Which gradients a mask scales: () -> its name in `agents.BlockPolicy`. docs/routing.md compares the levels."""

from routing.oversight.parts import part


@part("level", needs=("layers",))
def activation() -> str:
    """The gradient through a block's output, so nothing inside or before the block learns from a masked sample."""
    return "activation"


@part("level")
def parameter() -> str:
    """The gradients of a block's parameters only; what lies before the block learns from every sample."""
    return "parameter"


@part("level", needs=("forget", "layers"))
def forward_ablated() -> str:
    """As activation, and forget experts output 0 on samples that do not train them (SGTM, arXiv 2512.05648)."""
    return "forward_ablated"


@part("level", needs=("forget", "layers"))
def hard() -> str:
    """As activation, and every expert outputs 0 on samples that do not train it, so experts share no labelled sample.

    The coefficients of the remaining experts are divided by their sum: an expert that is left alone has coefficient 1,
    as rule `full` deploys it, and as DEMix layers train experts (Gururangan et al. 2021, arXiv 2108.05036, section 3).
    Samples without a verdict are mixed by all experts, as without this level. A mask other than 0 counts as training,
    so with `push` a bad sample is computed by the retain expert too.
    """
    return "hard"
