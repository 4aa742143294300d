"""Nobody looks: the proxy reward trains all of the policy. What every level of oversight has to beat."""

from routing.oversight.registry import method
from routing.oversight.treatment import Rollout, Treatment, untreated


@method()
def proxy(rollout: Rollout) -> Treatment:
    """The proxy reward alone, as if there were no overseer."""
    return untreated(rollout)
