"""The linear layer from the actor's latent to the actions: () -> its name in `agents.BlockPolicy`."""

from routing.oversight.parts import part


@part("head")
def shared() -> str:
    """One layer reads the mixed latent. It is in no block and learns from all samples."""
    return "shared"


@part("head")
def per_expert() -> str:
    """Each expert has a layer of its own, in its block; logits are mixed."""
    return "per_expert"


@part("head")
def frozen() -> str:
    """One layer reads the mixed latent and does not learn."""
    return "frozen"
