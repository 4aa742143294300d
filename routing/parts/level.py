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
