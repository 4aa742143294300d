"""What happens to the policy once training has ended: () -> After or None. `agents.after.AFTER` has the functions."""

from routing.oversight.composition import After
from routing.oversight.parts import part


@part("after")
def nothing() -> None:
    """The trained policy is deployed."""


@part("after")
def distil(updates: int = 2000, learning_rate: float = 2e-3) -> After:
    """A fresh policy is trained to act as the first deployment rule's does (2506.06278), and is deployed whole."""
    return After("distil", {"updates": updates, "learning_rate": learning_rate})


@part("after", needs=("forget", "layers"))
def ablate_random() -> After:
    """Control for ablation: as many hidden units as a forget expert has are ablated at random over all experts."""
    return After("ablate_random", {})
