"""Upper bound: naive oversight with an overseer that observes the true reward. Only the overseer differs from naive."""

from routing.oversight.registry import method

method(
    "oracle",
    "The true reward on every step, which no overseer of the world can observe.",
    overseer="all_seeing",
    reward="verdict",
)
