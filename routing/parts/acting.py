"""Which experts act during training: () -> Acting. The update is that of the whole policy in either case.

Samples keep the log-probability of the policy that acted, so the ratio of the update corrects for it, up to clipping.
"""

from routing.oversight.composition import Acting
from routing.oversight.parts import part


@part("acting")
def whole() -> Acting:
    """The whole policy acts."""
    return Acting()


@part("acting")
def deployed(share: float = 0.5) -> Acting:
    """In each episode the first deployment rule's policy acts with probability `share`, else the whole policy.

    Verdicts and returns are then also of what is deployed, which the whole policy may never do.
    """
    if not 0 < share <= 1:
        raise ValueError(f"acting=deployed has share {share:g}; use a probability above 0, at most 1")
    return Acting(share)
