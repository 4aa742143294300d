"""Penalise what looks like anything that was ever judged bad, also while it is not watched."""

from routing.oversight.registry import method

method(
    "taint",
    "A bad verdict also counts for later episode ends that look the same to the agent.",
    shorthand="reward",
    reward="taint",
)
