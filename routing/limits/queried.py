"""Asking for a look: the agent gets one more action, after which the overseer audits the rest of the episode.

The agent pays for it and observes that it has asked. (Monitored MDPs, arXiv 2402.06819, where the agent switches the
monitor; the Oversight Game, arXiv 2510.26752, where it asks or acts.)
"""

from typing import Any

from routing.oversight.limits import limit


@limit(wraps=True)
def queried(cost: float = 0.1) -> dict[str, Any]:
    """The overseer audits what follows once the agent asks for it, by an action that costs `cost`."""
    if not 0 <= cost < float("inf"):
        raise ValueError(f"queried costs {cost!r}; give a number of 0 or more")
    return {"cost": cost}
