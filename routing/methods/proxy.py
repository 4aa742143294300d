"""No oversight: the proxy reward trains the whole policy. The baseline for every oversight level."""

from routing.oversight.registry import method
from routing.oversight.treatment import Rollout, Treatment, untreated


@method()
def proxy(rollout: Rollout) -> Treatment:
    """The proxy reward only, without an overseer."""
    return untreated(rollout)
