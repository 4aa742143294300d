"""The networks of the actor: () -> Network. `agents.BlockPolicy` builds them."""

from routing.oversight.composition import CONDITIONED, Network
from routing.oversight.parts import part


def _experts(network: str, experts: int) -> int:
    if not 2 <= experts <= 8:
        raise ValueError(f"network {network} has {experts} experts; use 2 to 8, or network=single for one")
    return experts


def _is_equal(network: str, capacity: str) -> bool:
    if capacity not in ("equal", "expert"):
        raise ValueError(f"network {network} has capacity {capacity!r}; use equal or expert")
    return capacity == "equal"


@part("network")
def gated(experts: int = 2) -> Network:
    """Experts mixed by a learned softmax gate."""
    return Network("gated", _experts("gated", experts), gate=True)


@part("network")
def ungated(experts: int = 2) -> Network:
    """Experts mixed with equal coefficients."""
    return Network("ungated", _experts("ungated", experts))


@part("network")
def single(capacity: str = "equal") -> Network:
    """One network: "equal" has as many parameters as two experts and a gate, "expert" as one expert."""
    return Network("single", 1, equal_capacity=_is_equal("single", capacity))


@part("network")
def conditioned(capacity: str = "equal") -> Network:
    """One network that reads the verdict too, as one of three codes: good, bad, no verdict; needs masks=conditioned.

    In the update it reads the code of each sample; it acts with the code "no verdict" and is deployed with "good". No
    gradient is masked. Source: conditional training (Korbak et al. 2023, arXiv 2302.08582, section 2).
    """
    return Network(CONDITIONED, 1, equal_capacity=_is_equal(CONDITIONED, capacity))


@part("network")
def adapters(experts: int = 2) -> Network:
    """A low-rank adapter for each expert on one frozen network, which `--start` can set; needs level=parameter."""
    return Network("adapters", _experts("adapters", experts))
